"""Events of another server: judged three times, and put into the graph."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.errors import MatrixError
from synapse_lite.matrix.event import Event
from synapse_lite.rooms import tips
from synapse_lite.rooms.contributors import HISTORY_CONTRIBUTORS
from synapse_lite.rooms.history import HistoryFiller, Past
from synapse_lite.rooms.judge import MissingEventsError
from synapse_lite.rooms.receive import Received
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import Standing, StoredEvent
from synapse_lite.storage.stream import Change, Kind
from tests.builders import ALICE, BOB
from tests.rooms.meeting import LEVELS, TEXT, TOPIC, Meeting
from tests.rooms.remote import CAROL, DAVE, State

pytestmark = pytest.mark.parametrize("version", ["6", "10", "11", "12"])


@ensureDeferred
async def test_what_follows_the_head(meeting: Meeting, changes: list[Change]) -> None:
    """It is accepted, shown, and our next event follows it. Receiving it again changes nothing."""
    said = await meeting.remote.follow(meeting.room, meeting.joined, "m.room.message", CAROL, TEXT)
    assert said.standing is Standing.ACCEPTED
    assert [(change.kind, change.event_nid) for change in changes][-1] == (Kind.EVENT, said.nid)
    assert (await meeting.remote.receive(meeting.room, said.event)).nid == said.nid
    assert (await meeting.say()).event.prev_events == [said.event_id]
    assert (await meeting.remote.current(meeting.room))["m.room.member", CAROL] == meeting.joined.nid


@ensureDeferred
async def test_who_is_not_in_the_room_is_rejected(meeting: Meeting, changes: list[Change]) -> None:
    """By its auth events: stored with the reason, shown to nobody, followed by nothing."""
    shown = len(changes)
    said = await meeting.remote.follow(meeting.room, meeting.joined, "m.room.message", DAVE, TEXT)
    assert said.standing is Standing.REJECTED
    reason = await meeting.do(
        lambda txn: txn.value("SELECT rejected_reason FROM events WHERE event_nid = %s", (said.nid,))
    )
    assert DAVE in reason
    assert len(changes) == shown
    assert await meeting.remote.head(meeting.room) == [meeting.joined]


@ensureDeferred
async def test_auth_events_of_another_time_do_not_help(meeting: Meeting) -> None:
    """Allowed by the auth events that it names, but not by the state before it: rejected."""
    before = await meeting.remote.state(meeting.joined)
    ban = await meeting.ban(CAROL)
    event = meeting.remote.build(meeting.room, [ban.event], before, "m.room.message", CAROL, TEXT)
    assert (await meeting.remote.receive(meeting.room, event)).standing is Standing.REJECTED


@ensureDeferred
async def test_what_leans_on_a_rejected_event_is_rejected(meeting: Meeting) -> None:
    """Also if the rules would allow it."""
    state = await meeting.remote.state(meeting.joined)
    content = {"users": {DAVE: 100}}
    forged = meeting.remote.build(
        meeting.room, [meeting.joined.event], state, "m.room.power_levels", CAROL, content, state_key=""
    )
    assert (await meeting.remote.receive(meeting.room, forged)).standing is Standing.REJECTED
    state[LEVELS] = forged
    event = meeting.remote.build(meeting.room, [meeting.joined.event], state, "m.room.message", CAROL, TEXT)
    assert (await meeting.remote.receive(meeting.room, event)).standing is Standing.REJECTED


@ensureDeferred
async def test_the_state_after_a_rejected_event_is_that_before(meeting: Meeting) -> None:
    """What follows it is judged as if it were not there, and takes the place of what is below it."""
    state = await meeting.remote.state(meeting.joined)
    forged = await meeting.remote.follow(
        meeting.room, meeting.joined, "m.room.topic", CAROL, {"topic": "mine"}, state_key=""
    )
    assert (forged.standing, forged.after_nid) == (Standing.REJECTED, forged.before_nid)
    event = meeting.remote.build(meeting.room, [forged.event], state, "m.room.message", CAROL, TEXT)
    said = await meeting.remote.receive(meeting.room, event)
    assert said.standing is Standing.ACCEPTED
    assert await meeting.remote.head(meeting.room) == [said]
    assert TOPIC not in await meeting.remote.current(meeting.room)


class BesideTheRoom:
    """Messages that follow each other, received with the state before them told."""

    def __init__(self, meeting: Meeting, start: StoredEvent, state: State) -> None:
        self.meeting, self.tip, self.state = meeting, start.event, state

    def say(self, sender: str) -> Event:
        self.tip = self.meeting.remote.build(
            self.meeting.room, [self.tip], self.state, "m.room.message", sender, TEXT
        )
        return self.tip

    async def receive(self, event: Event) -> Standing:
        found = await self.meeting.database.read(
            self.meeting.world.events.by_ids, [one.event_id for one in self.state.values()]
        )
        told = {key: found[one.event_id].nid for key, one in self.state.items()}
        received = Received(self.meeting.room.nid, event, state=told)
        return (await self.meeting.remote.receiver.receive(received)).standing

    async def missing(self) -> list[str]:
        rows = await self.meeting.do(lambda txn: txn.rows("SELECT missing_event_id FROM room_gaps"))
        return [event_id for (event_id,) in rows]


@ensureDeferred
async def test_what_was_missing_is_soft_failed(meeting: Meeting) -> None:
    """What is not known below it is missing in its place: nothing else leads there."""
    dave = await meeting.remote.member(meeting.room, meeting.joined, DAVE, DAVE, "join")
    branch = BesideTheRoom(meeting, dave, await meeting.remote.state(dave))
    first = branch.say(CAROL)
    second, last = branch.say(CAROL), branch.say(DAVE)
    assert await branch.receive(last) is Standing.ACCEPTED
    assert await branch.missing() == [second.event_id]
    await meeting.ban(CAROL)
    assert await branch.receive(second) is Standing.SOFT_FAILED
    assert await branch.missing() == [first.event_id]
    assert await branch.receive(first) is Standing.SOFT_FAILED
    assert await branch.missing() == []


@ensureDeferred
async def test_history_after_a_soft_failed_event(meeting: Meeting) -> None:
    """What is not known below that one is missing below what follows it."""
    dave = await meeting.remote.member(meeting.room, meeting.joined, DAVE, DAVE, "join")
    branch = BesideTheRoom(meeting, dave, await meeting.remote.state(dave))
    first = branch.say(CAROL)
    second, third, last = branch.say(CAROL), branch.say(DAVE), branch.say(DAVE)
    await branch.receive(last)
    await meeting.ban(CAROL)
    assert await branch.receive(second) is Standing.SOFT_FAILED
    ((position,),) = await meeting.do(lambda txn: txn.rows("SELECT position FROM room_gaps"))
    world = meeting.world
    filler = HistoryFiller(meeting.database, world.events, world.state, world.clock, HISTORY_CONTRIBUTORS)
    assert await filler.fill(Past(meeting.room.nid, position, [third])) == [third.event_id]
    assert await branch.missing() == [first.event_id]


@ensureDeferred
async def test_banned_meanwhile(meeting: Meeting, changes: list[Change]) -> None:
    """Allowed where it hangs, but not by the current state: kept from clients, and from our next event."""
    ban = await meeting.ban(CAROL)
    shown = len(changes)
    said = await meeting.remote.follow(meeting.room, meeting.joined, "m.room.message", CAROL, TEXT)
    assert said.standing is Standing.SOFT_FAILED
    assert len(changes) == shown
    assert await meeting.remote.head(meeting.room) == [ban]
    assert (await meeting.say()).event.prev_events == [ban.event_id]


@ensureDeferred
async def test_tips_below_a_soft_failed_event_are_followed(meeting: Meeting) -> None:
    """Who builds on a soft-failed event follows what that one followed: extremities do not pile up."""
    dave = await meeting.remote.member(meeting.room, meeting.joined, DAVE, DAVE, "join")
    ban = await meeting.ban(CAROL)
    soft = await meeting.remote.follow(meeting.room, dave, "m.room.message", CAROL, TEXT)
    assert soft.standing is Standing.SOFT_FAILED
    state = await meeting.remote.state(ban)
    event = meeting.remote.build(meeting.room, [soft.event, ban.event], state, "m.room.message", DAVE, TEXT)
    said = await meeting.remote.receive(meeting.room, event)
    assert said.standing is Standing.ACCEPTED
    assert await meeting.remote.head(meeting.room) == [said]
    assert (await meeting.remote.current(meeting.room))["m.room.member", CAROL] == ban.nid


@ensureDeferred
async def test_a_long_chain_of_soft_failed_events(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is followed so far only, however long it is; what lies below stays an end of the room until we say something."""
    monkeypatch.setattr(tips, "MOST_FOLLOWED", 4)
    remote, room, by_ids = meeting.remote, meeting.room, meeting.world.events.by_ids
    dave = await remote.member(room, meeting.joined, DAVE, DAVE, "join")
    ban = await meeting.ban(CAROL)
    chain = [await remote.follow(room, dave, "m.room.message", CAROL, TEXT)]
    for _ in range(20):
        chain.append(await remote.follow(room, chain[-1], "m.room.message", CAROL, TEXT))
    assert {one.standing for one in chain} == {Standing.SOFT_FAILED}
    looks: list[object] = []
    monkeypatch.setattr(meeting.world.events, "by_ids", lambda *asked: looks.append(asked) or by_ids(*asked))
    event = remote.build(room, [chain[-1].event], await remote.state(dave), "m.room.message", DAVE, TEXT)
    said = await remote.receive(room, event)
    assert said.standing is Standing.ACCEPTED
    assert len(looks) < 20
    assert {one.nid for one in await remote.head(room)} == {ban.nid, said.nid}
    assert await remote.head(room) != [await meeting.say()]
    assert len(await remote.head(room)) == 1


@ensureDeferred
async def test_missing_events_are_named(meeting: Meeting) -> None:
    """Nothing is stored of an event whose auth events or predecessors are unknown; with them it is accepted."""
    remote, room = meeting.remote, meeting.room
    state = await remote.state(meeting.joined)
    dave = remote.build(
        room, [meeting.joined.event], state, "m.room.member", DAVE, {"membership": "join"}, state_key=DAVE
    )
    said = remote.build(room, [meeting.joined.event], {**state, dave.key: dave}, "m.room.message", DAVE, TEXT)
    with pytest.raises(MissingEventsError) as missing:
        await remote.receive(room, said)
    assert missing.value.event_ids == {dave.event_id}
    later = remote.build(room, [dave], {**state, dave.key: dave}, "m.room.message", DAVE, TEXT)
    with pytest.raises(MissingEventsError) as missing:
        await remote.receive(room, later, dave)  # known, but not where it belongs
    assert missing.value.event_ids == {dave.event_id}
    joined = await remote.receive(room, dave)
    assert joined.standing is Standing.ACCEPTED
    assert (await remote.receive(room, later)).standing is Standing.ACCEPTED
    assert (await remote.current(room))["m.room.member", DAVE] == joined.nid


@ensureDeferred
async def test_why_an_auth_event_is_not_accepted_in_its_place(meeting: Meeting) -> None:
    """It is on record as for an event that nobody named before."""
    remote, room = meeting.remote, meeting.room
    before = await remote.state(meeting.joined)
    ban = await meeting.ban(CAROL)
    name = remote.build(
        room, [ban.event], before, "m.room.member", CAROL, {"membership": "join"}, state_key=CAROL
    )
    said = remote.build(room, [ban.event], {**before, name.key: name}, "m.room.message", CAROL, TEXT)
    await remote.receive(room, said, name)
    stored = await remote.receive(room, name)
    assert stored.standing is Standing.REJECTED
    reason = await meeting.do(
        lambda txn: txn.value("SELECT rejected_reason FROM events WHERE event_nid = %s", (stored.nid,))
    )
    assert "banned" in reason


@ensureDeferred
async def test_an_auth_event_finds_its_place_later(meeting: Meeting) -> None:
    """It is an outlier, which changes nothing, until it is received by itself: then the same row is history."""
    remote, room = meeting.remote, meeting.room
    await meeting.levels()
    (head,) = await remote.head(room)
    state = await remote.state(head)
    dave = remote.build(
        room, [head.event], state, "m.room.member", DAVE, {"membership": "join"}, state_key=DAVE
    )
    topic = remote.build(
        room, [head.event], {**state, dave.key: dave}, "m.room.topic", DAVE, {"topic": "d"}, state_key=""
    )
    stored = await remote.receive(room, topic, dave)
    assert stored.standing is Standing.REJECTED  # Dave is not in the room there
    outlier = await meeting.do(lambda txn: meeting.world.events.by_ids(txn, [dave.event_id])[dave.event_id])
    assert outlier.standing is Standing.OUTLIER
    assert ("m.room.member", DAVE) not in await remote.current(room)
    joined = await remote.receive(room, dave)
    assert (joined.nid, joined.standing) == (outlier.nid, Standing.ACCEPTED)
    assert (await remote.current(room))["m.room.member", DAVE] == joined.nid


@ensureDeferred
async def test_a_head_that_moves_while_an_event_is_prepared(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is prepared again, by the state as it is then."""
    bans: list[StoredEvent] = []
    receiver = meeting.remote.receiver
    commit = receiver._commit

    def moved_on(txn: Transaction, prepared: Any) -> Any:
        if not bans:
            bans.append(meeting.world.member(txn, meeting.room, ALICE, CAROL, "ban"))
        return commit(txn, prepared)

    monkeypatch.setattr(receiver, "_commit", moved_on)
    said = await meeting.remote.follow(meeting.room, meeting.joined, "m.room.message", CAROL, TEXT)
    assert said.standing is Standing.SOFT_FAILED
    assert await meeting.remote.head(meeting.room) == bans


@ensureDeferred
async def test_events_of_rooms_that_are_unknown(meeting: Meeting) -> None:
    """404, also for an event that names another room than it came for."""
    other = await meeting.do(meeting.world.room, BOB, version=meeting.version)
    state = await meeting.remote.state(meeting.joined)
    event = meeting.remote.build(other, [meeting.joined.event], state, "m.room.message", CAROL, TEXT)
    with pytest.raises(MatrixError) as refused:
        await meeting.remote.receive(meeting.room, event)
    assert refused.value.status == 404
