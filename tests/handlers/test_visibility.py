"""Who may read what of a room's history."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.errors import MatrixError
from synapse_lite.storage.rooms import Room
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.house import refusal
from tests.handlers.sync_server import SyncServer, ids

EVERYTHING = ["before", "invited", "joined", "left", "back"]


async def _story(server: SyncServer, visibility: str) -> Room:
    """A message at each stage of what Bob is to the room: nothing, invited, joined, gone, joined again."""
    room = await server.room(ALICE)
    await server.show_history_to(room, visibility)
    await server.set(room, "m.room.join_rules", {"join_rule": "invite"})
    await server.say(room, ALICE, "before")
    await server.member(room, ALICE, BOB, "invite")
    await server.say(room, ALICE, "invited")
    await server.join(room, BOB)
    await server.say(room, ALICE, "joined")
    await server.leave(room, BOB)
    await server.say(room, ALICE, "left")
    return room


async def _reads(server: SyncServer, user_id: str, room: Room) -> list[str] | None:
    """The texts in order; None when the room is closed to the user. Forwards and backwards must agree."""
    try:
        page = await server.messages(user_id, room, limit=100)
    except MatrixError:
        assert await refusal(server.messages(user_id, room, dir="f")) == (403, "M_FORBIDDEN")
        return None
    forwards = await server.messages(user_id, room, dir="f", limit=100)
    assert ids(forwards["chunk"]) == ids(page["chunk"])[::-1]
    return [event["content"]["body"] for event in forwards["chunk"] if event["type"] == "m.room.message"]


@pytest.mark.parametrize(
    ("visibility", "gone", "back"),
    [
        ("joined", ["joined"], ["joined", "back"]),
        ("invited", ["invited", "joined"], ["invited", "joined", "again", "back"]),
        ("shared", ["before", "invited", "joined"], [*EVERYTHING[:4], "again", "back"]),
        ("world_readable", EVERYTHING[:4], [*EVERYTHING[:4], "again", "back"]),
    ],
)
@ensureDeferred
async def test_each_visibility(server: SyncServer, visibility: str, gone: list[str], back: list[str]) -> None:
    """To whom was in, left, and comes back."""
    room = await _story(server, visibility)
    assert await _reads(server, BOB, room) == gone
    await server.member(room, ALICE, BOB, "invite")
    await server.say(room, ALICE, "again")
    await server.join(room, BOB)
    await server.say(room, ALICE, "back")
    assert await _reads(server, BOB, room) == back
    everything = [*EVERYTHING[:4], "again", "back"]
    assert await _reads(server, ALICE, room) == everything
    assert await _reads(server, MALLORY, room) == (everything if visibility == "world_readable" else None)


@ensureDeferred
async def test_who_is_invited_but_never_joined(server: SyncServer) -> None:
    """Sees what is for the invited, from the invitation on; nothing of a room that is shared with members."""
    for visibility, expected in (
        ("joined", None),
        ("invited", ["invited"]),
        ("shared", None),
        ("world_readable", ["before", "invited"]),
    ):
        room = await server.room(ALICE)
        await server.show_history_to(room, visibility)
        await server.say(room, ALICE, "before")
        await server.member(room, ALICE, BOB, "invite")
        await server.say(room, ALICE, "invited")
        assert await _reads(server, BOB, room) == expected
        await server.leave(room, BOB)
        rejected = expected if visibility == "world_readable" else None
        assert await _reads(server, BOB, room) == rejected
        await server.member(room, ALICE, BOB, "ban")
        assert await _reads(server, BOB, room) == rejected


@ensureDeferred
async def test_banned_after_leaving(server: SyncServer) -> None:
    """The ban opens nothing of what came after the leave."""
    room = await server.room(ALICE, BOB)
    await server.say(room, ALICE, "together")
    await server.leave(room, BOB)
    await server.say(room, ALICE, "alone")
    await server.member(room, ALICE, BOB, "ban")
    assert await _reads(server, BOB, room) == ["together"]


@ensureDeferred
async def test_a_visibility_that_changes(server: SyncServer) -> None:
    """Each event keeps the visibility of its time."""
    room = await server.room(ALICE)
    await server.say(room, ALICE, "shared by default")
    await server.show_history_to(room, "joined")
    await server.say(room, ALICE, "joined")
    await server.show_history_to(room, "world_readable")
    await server.say(room, ALICE, "world readable")
    assert await _reads(server, MALLORY, room) == ["world readable"]
    await server.show_history_to(room, "shared")
    assert await _reads(server, MALLORY, room) is None
    await server.join(room, MALLORY)
    assert await _reads(server, MALLORY, room) == ["shared by default", "world readable"]


@ensureDeferred
async def test_forgetting_makes_a_stranger(server: SyncServer) -> None:
    """Where anybody may read they read what anybody may, and what was said while they were there."""
    room = await server.room(ALICE, BOB)
    await server.say(room, ALICE, "for members")
    await server.leave(room, BOB)
    assert await _reads(server, BOB, room) == ["for members"]
    await server.forget(room, BOB)
    assert await _reads(server, BOB, room) is None
    await server.say(room, ALICE, "alone")
    await server.show_history_to(room, "world_readable")
    await server.say(room, ALICE, "for all")
    assert await _reads(server, BOB, room) == ["for members", "for all"]


@ensureDeferred
async def test_a_visibility_that_nobody_knows(server: SyncServer) -> None:
    """Counts as `shared`."""
    room = await server.room(ALICE)
    await server.show_history_to(room, "org.example.odd")
    await server.say(room, ALICE, "before")
    assert await _reads(server, MALLORY, room) is None
    await server.join(room, MALLORY)
    assert await _reads(server, MALLORY, room) == ["before"]
