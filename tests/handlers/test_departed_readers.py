"""What those who are out of a room are shown beside an event is no younger than their departure."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.rooms import Room
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.sync_server import SyncServer, section

LATER = "after the departure"

departures = pytest.mark.parametrize(
    ("sender", "membership"),
    [(BOB, "leave"), (ALICE, "leave"), (ALICE, "ban")],
    ids=["left", "kicked", "banned"],
)
visibilities = pytest.mark.parametrize("visibility", ["shared", "joined", "invited"])


async def _story(server: SyncServer, visibility: str, sender: str, membership: str) -> tuple[Room, str, str]:
    """A room that Bob is out of, a message of his time that was redacted since, his newest member event.

    Since then there is a topic, Alice has a name, Mallory is there, and Bob has one more member event.
    """
    room = await server.room(ALICE, BOB)
    await server.show_history_to(room, visibility)
    said = await server.say(room, ALICE)
    await server.member(room, sender, BOB, membership)
    named = {"membership": "join", "displayname": LATER}
    await server.set(room, "m.room.member", named, ALICE, ALICE)
    await server.set(room, "m.room.topic", {"topic": LATER})
    await server.join(room, MALLORY)
    await server.do(
        server.world.send, room, "m.room.redaction", ALICE, {"reason": LATER, "redacts": said}, redacts=said
    )
    await server.say(room, ALICE, LATER)
    content = {"membership": "leave" if membership == "ban" else "ban", "reason": "again"}
    last = await server.set(room, "m.room.member", content, ALICE, BOB)
    return room, said, last


def _is_clean(answer: Any) -> bool:
    text = str(answer)
    return LATER not in text and MALLORY not in text


@departures
@visibilities
@ensureDeferred
async def test_context(server: SyncServer, visibility: str, sender: str, membership: str) -> None:
    """Around the last event that one saw, and around one's own later member event."""
    room, said, last = await _story(server, visibility, sender, membership)
    for event_id in (said, last):
        for lazy in (False, True):
            answer = await server.context(BOB, room, event_id, lazy_load_members=lazy)
            assert answer["event"]["event_id"] == event_id
            assert _is_clean(answer), (event_id, lazy)
            assert any(event["type"] == "m.room.create" for event in answer["state"])


@departures
@visibilities
@ensureDeferred
async def test_messages(server: SyncServer, visibility: str, sender: str, membership: str) -> None:
    """With the members who speak, in both directions."""
    room, said, last = await _story(server, visibility, sender, membership)
    for dir in ("f", "b"):  # noqa: A001 (as the API has it)
        page = await server.messages(BOB, room, dir=dir, limit=50, lazy_load_members=True)
        shown = [event["event_id"] for event in page["chunk"]]
        assert said in shown
        assert last in shown
        assert _is_clean(page)
        assert ALICE in {event["state_key"] for event in page["state"]}


@departures
@visibilities
@ensureDeferred
async def test_redactions(server: SyncServer, visibility: str, sender: str, membership: str) -> None:
    """What was redacted is gone, but who did it and why is not told; members are told."""
    room, said, _ = await _story(server, visibility, sender, membership)
    event = await server.event(BOB, room, said)
    assert event["content"] == {}
    assert "redacted_because" not in event["unsigned"]
    event = await server.event(ALICE, room, said)
    assert event["unsigned"]["redacted_because"]["content"]["reason"] == LATER


@departures
@visibilities
@ensureDeferred
async def test_sync(server: SyncServer, visibility: str, sender: str, membership: str) -> None:
    """The archived room of a first sync."""
    room, _, _ = await _story(server, visibility, sender, membership)
    answer = await server.sync(BOB, filter={"room": {"include_leave": True, "timeline": {"limit": 50}}})
    assert _is_clean(section(answer, room, "leave"))


@ensureDeferred
async def test_a_world_readable_room_hides_nothing(server: SyncServer) -> None:
    """Who could read it anyway is shown the present."""
    room, said, _ = await _story(server, "world_readable", ALICE, "ban")
    answer = await server.context(BOB, room, said)
    assert "redacted_because" in answer["event"]["unsigned"]
    assert LATER in str(answer["state"])


def _memberships(events: list[JsonObject]) -> list[str]:
    return [event["unsigned"]["membership"] for event in events]


@ensureDeferred
async def test_the_readers_membership_at_each_event(server: SyncServer) -> None:
    """`unsigned.membership`, with the change that an event makes: in pages, contexts, single events and /sync."""
    room = await server.room(ALICE)
    await server.set(room, "m.room.join_rules", {"join_rule": "invite"})
    start = await server.token()
    before = await server.say(room, ALICE)
    invited = await server.member(room, ALICE, BOB, "invite")
    await server.say(room, ALICE)
    joined = await server.join(room, BOB)
    await server.say(room, ALICE)
    expected = ["leave", "invite", "invite", "join", "join"]
    page = await server.messages(BOB, room, start, dir="f", limit=50)
    assert _memberships(page["chunk"]) == expected
    answer = await server.sync(BOB, filter={"room": {"timeline": {"limit": 5}}})
    assert _memberships(section(answer, room)["timeline"]["events"]) == expected
    around = await server.context(BOB, room, invited)
    assert _memberships([around["event"], *around["events_after"][:2]]) == ["invite", "invite", "join"]
    assert _memberships([await server.event(BOB, room, one) for one in (before, joined)]) == ["leave", "join"]
    left = await server.leave(room, BOB)
    gone = await server.sync(BOB, answer["next_batch"])
    assert [event["event_id"] for event in section(gone, room, "leave")["timeline"]["events"]] == [left]
    assert _memberships(section(gone, room, "leave")["timeline"]["events"]) == ["leave"]
