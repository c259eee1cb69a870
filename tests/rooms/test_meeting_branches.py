"""Where branches meet: which state wins, and who is told of it."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.events import Standing
from synapse_lite.storage.state_deltas import membership_deltas, net_changes
from synapse_lite.storage.stream import Change, Kind
from tests.builders import ALICE, BOB
from tests.rooms.meeting import LEVELS, TEXT, TOPIC, Meeting
from tests.rooms.remote import CAROL, DAVE

pytestmark = pytest.mark.parametrize("version", ["6", "10", "11", "12"])


@ensureDeferred
async def test_an_event_that_neither_branch_has_may_win(meeting: Meeting) -> None:
    """Bob's levels fall with his ban on another branch; those from which he had the power are back."""
    bob = await meeting.ours("m.room.member", BOB, {"membership": "join"}, state_key=BOB)
    await meeting.levels()
    (base,) = await meeting.remote.head(meeting.room)
    promoting = await meeting.levels(bob=60)
    content = {**promoting.event.content, "events_default": 5}
    fallen = await meeting.ours("m.room.power_levels", BOB, content, state_key="")
    ban = await meeting.remote.member(meeting.room, base, ALICE, BOB, "ban")
    assert ban.standing is Standing.ACCEPTED
    current = await meeting.remote.current(meeting.room)
    assert current["m.room.member", BOB] == ban.nid
    assert current[LEVELS] == promoting.nid
    assert current[LEVELS] not in {fallen.nid, bob.nid}
    assert {tip.nid for tip in await meeting.remote.head(meeting.room)} == {fallen.nid, ban.nid}
    merging = await meeting.say()
    assert len(merging.event.prev_events) == 2
    assert await meeting.remote.head(meeting.room) == [merging]
    assert await meeting.remote.current(meeting.room) == current


@ensureDeferred
async def test_state_on_one_of_several_extremities(meeting: Meeting) -> None:
    """It enters the current state, whichever extremity it follows."""
    await meeting.levels()
    (base,) = await meeting.remote.head(meeting.room)
    ours = await meeting.say()
    theirs = await meeting.remote.follow(meeting.room, base, "m.room.message", CAROL, TEXT)
    topic = await meeting.remote.follow(
        meeting.room, theirs, "m.room.topic", CAROL, {"topic": "ours too"}, state_key=""
    )
    assert (await meeting.remote.current(meeting.room))[TOPIC] == topic.nid
    assert {tip.nid for tip in await meeting.remote.head(meeting.room)} == {ours.nid, topic.nid}


@ensureDeferred
async def test_state_that_a_branch_reverts_is_told(meeting: Meeting, changes: list[Change]) -> None:
    """The topic that lost is taken back in the stream, not only in the state."""
    await meeting.levels(bob=50)
    await meeting.ours("m.room.member", BOB, {"membership": "join"}, state_key=BOB)
    first = await meeting.topic("first")
    (base,) = await meeting.remote.head(meeting.room)
    name = await meeting.ours("m.room.name", BOB, {"name": "bob's"}, state_key="")
    bobs = await meeting.ours("m.room.topic", BOB, {"topic": "bob's"}, state_key="")
    position = changes[-1].position
    ban = await meeting.remote.member(meeting.room, base, ALICE, BOB, "ban")
    current = await meeting.remote.current(meeting.room)
    assert (current[TOPIC], current["m.room.member", BOB]) == (first.nid, ban.nid)
    assert name.event.key not in current
    told = [(change.kind, change.user_id) for change in changes if change.position > position]
    assert told == [(Kind.EVENT, BOB), (Kind.STATE, None)]
    spans = [(meeting.room.nid, position, changes[-1].position)]
    net = (await meeting.do(net_changes, spans))[meeting.room.nid]
    assert (net[TOPIC], net[name.event.key]) == (first.nid, None)
    assert bobs.nid not in net.values()


@ensureDeferred
async def test_a_kick_that_loses(meeting: Meeting, changes: list[Change]) -> None:
    """Who was kicked by somebody banned on another branch stays in the room, for every reader."""
    await meeting.levels()
    bob = await meeting.ours("m.room.member", BOB, {"membership": "join"}, state_key=BOB)
    ban = await meeting.ban(CAROL)
    position = changes[-1].position
    kick = await meeting.remote.member(meeting.room, bob, CAROL, BOB, "leave")
    assert kick.standing is Standing.SOFT_FAILED
    dave = await meeting.remote.member(meeting.room, kick, DAVE, DAVE, "join")
    assert dave.standing is Standing.ACCEPTED
    current = await meeting.remote.current(meeting.room)
    assert (current["m.room.member", BOB], current["m.room.member", CAROL]) == (bob.nid, ban.nid)
    assert await meeting.do(membership_deltas, BOB, position, changes[-1].position) == []
    assert BOB not in {change.user_id for change in changes if change.position > position}


@ensureDeferred
async def test_a_member_who_is_back_by_another_branch(meeting: Meeting, changes: list[Change]) -> None:
    """A change of membership that no event of the moment makes is told to the member."""
    await meeting.levels(bob=50)
    await meeting.ours("m.room.member", BOB, {"membership": "join"}, state_key=BOB)
    dave = await meeting.remote.member(
        meeting.room, (await meeting.remote.head(meeting.room))[0], DAVE, DAVE, "join"
    )
    erin = "@erin:hs.test"
    joined = await meeting.ours("m.room.member", erin, {"membership": "join"}, state_key=erin)
    kick = await meeting.ours("m.room.member", BOB, {"membership": "leave"}, state_key=erin)
    position = changes[-1].position
    ban = await meeting.remote.member(meeting.room, joined, ALICE, BOB, "ban")
    assert (dave.standing, ban.standing) == (Standing.ACCEPTED, Standing.ACCEPTED)
    current = await meeting.remote.current(meeting.room)
    assert current["m.room.member", BOB] == ban.nid
    assert current["m.room.member", erin] == joined.nid != kick.nid
    (delta,) = await meeting.do(membership_deltas, erin, position, changes[-1].position)
    assert (delta.event_nid, delta.previous_nid) == (joined.nid, kick.nid)
    told = [(change.kind, change.user_id) for change in changes if change.position > position]
    assert told == [(Kind.EVENT, BOB), (Kind.STATE, erin)]
