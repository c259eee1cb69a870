"""Events that follow each other beside the head of their room: as if they were received one by one, but resolved once."""

from random import Random
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.matrix.event import Event
from synapse_lite.matrix.state_resolution import resolve
from synapse_lite.rooms import resolution
from synapse_lite.rooms.branches import BranchReceiver
from synapse_lite.rooms.contributors import room_contributors
from synapse_lite.rooms.receive import Received
from synapse_lite.storage.database import Database
from synapse_lite.storage.events import Standing, StoredEvent
from synapse_lite.storage.stream import Change, Kind
from tests.builders import ALICE, SERVER
from tests.rooms.meeting import LEVELS, TEXT, TOPIC, Meeting
from tests.rooms.remote import CAROL, OTHER, State

pytestmark = pytest.mark.parametrize("version", ["1", "6", "11", "12"])

MEMBER = "m.room.member"
USERS = [f"@u{number}:{OTHER}" for number in range(6)]


class Branch:
    """What grows beside the head: from the state after an event on."""

    def __init__(self, meeting: Meeting, start: StoredEvent, state: State) -> None:
        self.meeting = meeting
        self.tip, self.state = start.event, dict(state)
        self.events: list[Event] = []

    def add(self, kind: str, sender: str, content: dict[str, Any], state_key: str | None = None) -> Event:
        event = self.meeting.remote.build(
            self.meeting.room, [self.tip], self.state, kind, sender, content, state_key
        )
        if event.is_state:
            self.state[event.key] = event
        self.tip = event
        self.events.append(event)
        return event

    def join(self, user_id: str, name: str = "x") -> Event:
        return self.add(MEMBER, user_id, {"membership": "join", "displayname": name}, user_id)

    def say(self, user_id: str = CAROL) -> Event:
        return self.add("m.room.message", user_id, TEXT)


@pytest.fixture
def branches(meeting: Meeting) -> BranchReceiver:
    world = meeting.world
    contributors = room_contributors(world.state, SERVER, forget_on_leave=False)
    return BranchReceiver(meeting.database, world.events, world.state, world.clock, contributors)


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each time that states were resolved."""
    times: list[int] = []

    def count(*args: Any) -> Any:
        times.append(1)
        return resolve(*args)

    monkeypatch.setattr(resolution, "resolve", count)
    return times


async def branch_of(meeting: Meeting) -> Branch:
    """From Carol's join on; after that there is something else in the room."""
    branch = Branch(meeting, meeting.joined, await meeting.remote.state(meeting.joined))
    await meeting.topic("ours")
    return branch


async def nids_by_key(meeting: Meeting, state: State) -> dict[tuple[str, str], int]:
    """A state as another server's answer is passed on."""
    found = await meeting.database.read(meeting.world.events.by_ids, [one.event_id for one in state.values()])
    return {key: found[one.event_id].nid for key, one in state.items()}


async def standings(meeting: Meeting, events: list[Event]) -> list[Standing]:
    found = await meeting.database.read(meeting.world.events.by_ids, [one.event_id for one in events])
    return [found[one.event_id].standing for one in events]


@ensureDeferred
async def test_a_branch_is_resolved_once(
    meeting: Meeting, branches: BranchReceiver, resolved: list[int], changes: list[Change]
) -> None:
    """All of it is shown in order, each event with the state around it, and what it changes is in force."""
    branch = await branch_of(meeting)
    for user_id in USERS:
        branch.join(user_id, "before")
        branch.join(user_id, "after")
        branch.say(user_id)
    changes.clear()
    resolved.clear()
    assert await branches.receive(meeting.room.nid, branch.events) == len(branch.events)
    assert len(resolved) == 1
    assert {*await standings(meeting, branch.events)} == {Standing.ACCEPTED}
    shown = [one.event_nid or 0 for one in changes if one.kind is Kind.EVENT]
    found = await meeting.database.read(meeting.world.events.load, shown)
    assert [found[nid].event_id for nid in shown] == [one.event_id for one in branch.events]
    last = found[shown[-1]]
    assert {key: one.event_id for key, one in (await meeting.remote.state(last)).items()} == {
        key: one.event_id for key, one in branch.state.items()
    }
    current = await meeting.remote.current(meeting.room)
    assert all(found[current[MEMBER, user_id]].event.content["displayname"] == "after" for user_id in USERS)
    assert len(await meeting.remote.head(meeting.room)) == 2
    assert len((await meeting.say()).event.prev_events) == 2
    assert await branches.receive(meeting.room.nid, branch.events) == 0


@ensureDeferred
async def test_what_leans_on_a_rejected_event_ends_the_branch(
    meeting: Meeting, branches: BranchReceiver
) -> None:
    """Also if the rules would allow it: `rooms.receive` says what it is."""
    branch = await branch_of(meeting)
    previous = [meeting.joined.event]
    content = {"users": {USERS[0]: 100}}
    forged = meeting.remote.build(
        meeting.room, previous, branch.state, "m.room.power_levels", CAROL, content, ""
    )
    assert (await meeting.remote.receive(meeting.room, forged)).standing is Standing.REJECTED
    branch.say()
    branch.say()
    branch.state[LEVELS] = forged
    branch.say()
    assert await branches.receive(meeting.room.nid, branch.events) == 2


@ensureDeferred
async def test_where_another_server_tells_the_state(meeting: Meeting, branches: BranchReceiver) -> None:
    """The first event may follow what is not known; the rest follows it."""
    branch = await branch_of(meeting)
    branch.say()
    missing = branch.events.pop()
    branch.say()
    branch.join(USERS[0])
    assert await branches.receive(meeting.room.nid, branch.events) == 0
    told = await nids_by_key(meeting, await meeting.remote.state(meeting.joined))
    assert await branches.receive(meeting.room.nid, branch.events, told) == 2
    gaps = await meeting.do(lambda txn: txn.rows("SELECT missing_event_id FROM room_gaps"))
    assert gaps == [(missing.event_id,)]


@ensureDeferred
async def test_a_gap_below_a_soft_failed_event(meeting: Meeting, branches: BranchReceiver) -> None:
    """It is on record below what follows that one: nothing else leads there."""
    branch = await branch_of(meeting)
    told = await nids_by_key(meeting, branch.state)
    missing, unseen = branch.say(), branch.say()
    await meeting.ban(CAROL)
    soft_failed = await meeting.remote.receiver.receive(Received(meeting.room.nid, unseen, state=told))
    assert soft_failed.standing is Standing.SOFT_FAILED
    accepted = [branch.join(USERS[0]), branch.say(USERS[0])]
    assert await branches.receive(meeting.room.nid, accepted) == 2
    gaps = await meeting.do(lambda txn: txn.rows("SELECT missing_event_id FROM room_gaps"))
    assert gaps == [(missing.event_id,)]


@ensureDeferred
async def test_what_decides_about_power_comes_alone(meeting: Meeting, branches: BranchReceiver) -> None:
    """As do redactions, and what is not accepted: the rest of the branch goes on after them."""
    branch = await branch_of(meeting)
    branch.say()
    branch.say()
    levels = await meeting.levels(carol=50)  # makes her no moderator: that is another user
    kick = branch.add(MEMBER, CAROL, {"membership": "leave"}, ALICE)
    branch.say()
    branch.say()
    assert levels.standing is Standing.ACCEPTED
    assert await branches.receive(meeting.room.nid, branch.events) == 2
    assert await branches.receive(meeting.room.nid, branch.events[2:]) == 0
    assert (await meeting.remote.receive(meeting.room, kick)).standing is Standing.REJECTED
    assert await branches.receive(meeting.room.nid, branch.events[3:]) == 2


@ensureDeferred
async def test_who_was_banned_meanwhile(meeting: Meeting, branches: BranchReceiver) -> None:
    """Nothing of hers comes in by a branch, nor what she let in there."""
    branch = await branch_of(meeting)
    await meeting.ban(CAROL)
    branch.say()
    branch.say()
    assert await branches.receive(meeting.room.nid, branch.events) == 0
    for event in branch.events:
        assert (await meeting.remote.receive(meeting.room, event)).standing is Standing.SOFT_FAILED


@ensureDeferred
async def test_a_room_that_moves_on(meeting: Meeting, branches: BranchReceiver) -> None:
    """What was prepared for another head is not stored."""
    branch = await branch_of(meeting)
    branch.join(USERS[0])
    branch.say()
    nids = await meeting.database.read(branches._number, branch.events)
    prepared = await meeting.database.snapshot(branches._prepare, meeting.room.nid, nids, branch.events, None)
    assert prepared is not None
    await meeting.say()
    assert not await meeting.do(branches._commit, prepared)
    assert await branches.receive(meeting.room.nid, branch.events) == 2


@pytest.mark.parametrize("seed", range(3))
@ensureDeferred
async def test_it_is_as_one_by_one(
    database: Database, version: str, meeting: Meeting, branches: BranchReceiver, seed: int
) -> None:
    """The state of the room is the same, whatever two branches say."""
    random = Random(seed)
    branch = await branch_of(meeting)
    others: list[Event] = []
    beside = Branch(meeting, meeting.joined, await meeting.remote.state(meeting.joined))
    for place, one in enumerate((beside, branch)):
        for _ in range(15):
            user_id = random.choice(USERS)
            member = one.state.get((MEMBER, user_id))
            if member is None or member.membership == "leave":
                one.join(user_id, f"{place}")
            elif random.random() < 0.3:
                one.add(MEMBER, user_id, {"membership": "leave"}, user_id)
            elif random.random() < 0.3:
                one.join(user_id, f"{random.random()}")
            else:
                one.say(user_id)
        others = others or list(one.events)
    for event in others:
        await meeting.remote.receive(meeting.room, event)
    rest, together = list(branch.events), 0
    while rest:
        done = await branches.receive(meeting.room.nid, rest)
        together += done
        if done == 0:
            await meeting.remote.receive(meeting.room, rest[0])
        rest = rest[done or 1 :]
    assert together > 5
    current = await meeting.remote.current(meeting.room)
    assert TOPIC in current
    assert LEVELS in current
    head = await meeting.remote.head(meeting.room)
    expected = await meeting.database.read(_resolved, meeting, head)
    assert current == expected


def _resolved(txn: Any, meeting: Meeting, head: list[StoredEvent]) -> dict[tuple[str, str], int]:
    """By the algorithm alone, of the states after the extremities."""
    events, state = meeting.world.events, meeting.world.state
    wholes = [state.whole(txn, one.after_nid) for one in head]
    ids = events.ids_of(txn, {nid for whole in wholes for nid in whole.values()})
    nids = {event_id: nid for nid, event_id in ids.items()}

    def fetch(event_ids: Any) -> dict[str, Event]:
        return {one: stored.event for one, stored in events.by_ids(txn, event_ids).items()}

    sets = [{key: ids[nid] for key, nid in whole.items()} for whole in wholes]
    return {key: nids[one] for key, one in resolve(meeting.room.version, sets, fetch).items()}
