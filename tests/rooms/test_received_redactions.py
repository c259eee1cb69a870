"""Redactions, and bans that redact, of another server: before and after what they are about."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.matrix.redact_on_ban import REDACT_EVENTS
from synapse_lite.storage.events import Standing
from synapse_lite.storage.relations import is_related
from synapse_lite.storage.stream import Change
from tests.builders import ALICE
from tests.rooms.meeting import TEXT, Meeting
from tests.rooms.remote import CAROL

pytestmark = pytest.mark.parametrize("version", ["6", "10", "11", "12"])


@ensureDeferred
async def test_a_redaction_before_its_target(meeting: Meeting) -> None:
    """It waits, and empties the target when that comes, which relates to nothing then; one that was not allowed to does not."""
    about = {"m.relates_to": {"rel_type": "m.reference", "event_id": meeting.joined.event_id}}
    remote, room = meeting.remote, meeting.room
    state = await remote.state(meeting.joined)
    said = remote.build(room, [meeting.joined.event], state, "m.room.message", CAROL, {**TEXT, **about})
    redaction = remote.build(
        room, [meeting.joined.event], state, "m.room.redaction", CAROL, {}, redacts=said.event_id
    )
    first = await remote.receive(room, redaction)
    target = await remote.receive(room, said)
    found = await meeting.do(meeting.world.events.redactions, [target.nid])
    assert found.keys() == {target.nid}
    assert found[target.nid].nid == first.nid
    assert not await meeting.do(is_related, target.nid)


@ensureDeferred
async def test_a_redaction_of_who_was_banned_meanwhile(meeting: Meeting, changes: list[Change]) -> None:
    """It is applied and shown, so that clients see what the server has; the room does not follow it."""
    said = await meeting.remote.follow(meeting.room, meeting.joined, "m.room.message", CAROL, TEXT)
    ban = await meeting.ban(CAROL)
    redaction = await meeting.remote.follow(
        meeting.room, said, "m.room.redaction", CAROL, {}, redacts=said.event_id
    )
    assert redaction.standing is Standing.SOFT_FAILED
    assert (await meeting.do(meeting.world.events.redactions, [said.nid])).keys() == {said.nid}
    assert (changes[-1].event_nid, changes[-1].redacts_nid) == (redaction.nid, said.nid)
    assert await meeting.remote.head(meeting.room) == [ban]
    assert redaction.after_nid == ban.after_nid


@ensureDeferred
async def test_a_redaction_without_the_right_to(meeting: Meeting) -> None:
    """Of another server's event, by who lacks the level: the target keeps its content."""
    said = await meeting.say()
    redaction = await meeting.remote.follow(
        meeting.room, said, "m.room.redaction", CAROL, {}, redacts=said.event_id
    )
    assert redaction.standing is Standing.ACCEPTED
    assert await meeting.do(meeting.world.events.redactions, [said.nid]) == {}


@ensureDeferred
async def test_what_comes_after_a_ban_that_redacts(meeting: Meeting) -> None:
    """It is soft-failed and redacted; after a ban that does not redact it is only the former."""
    ban = {"membership": "ban", REDACT_EVENTS: True}
    banned = await meeting.ours("m.room.member", ALICE, ban, state_key=CAROL)
    late = await meeting.remote.follow(meeting.room, meeting.joined, "m.room.message", CAROL, TEXT)
    assert late.standing is Standing.SOFT_FAILED
    redactions = await meeting.database.read(meeting.world.events.redactions, [late.nid])
    assert {nid: one.nid for nid, one in redactions.items()} == {late.nid: banned.nid}
    await meeting.ours("m.room.member", ALICE, {"membership": "leave"}, state_key=CAROL)
    later = await meeting.remote.follow(meeting.room, late, "m.room.message", CAROL, TEXT)
    assert later.standing is Standing.SOFT_FAILED
    assert await meeting.database.read(meeting.world.events.redactions, [later.nid]) == {}
