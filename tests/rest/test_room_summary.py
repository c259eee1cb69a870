"""What one may know of a room from outside, over HTTP."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.server import TestServer, path_part

V1 = "/_matrix/client/v1/room_summary/"
HIDDEN = (404, "M_NOT_FOUND")


def rule(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "m.room.join_rules", "content": {"join_rule": name, **more}}


@ensureDeferred
async def test_a_summary(server: TestServer) -> None:
    """By id or alias, for members, strangers and nobody, with exactly the keys of the specification."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, name="Den", room_alias_name="den", room_version="11", initial_state=[
        {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}])  # fmt: skip
    room_id = room.removeprefix("rooms/")
    expected = {
        "room_id": room_id, "name": "Den", "canonical_alias": "#den:hs.test", "num_joined_members": 1,
        "world_readable": False, "guest_can_join": False, "join_rule": "public", "room_version": "11",
        "encryption": "m.megolm.v1.aes-sha2",
    }  # fmt: skip
    assert await server.ok("GET", V1 + room_id) == expected
    assert await server.ok("GET", V1 + path_part("#den:hs.test")) == expected
    assert await server.ok("GET", V1 + room_id, token=alice) == {**expected, "membership": "join"}
    old = f"/_matrix/client/unstable/im.nheko.summary/rooms/{room_id}/summary"
    assert await server.ok("GET", old, token=bob) == {**expected, "membership": "leave"}
    assert await server.refusal("GET", V1 + "den") == (400, "M_INVALID_PARAM")
    assert await server.refusal("GET", V1 + "!none:hs.test") == HIDDEN


@pytest.mark.parametrize(
    ("join_rule", "version", "stranger"),
    [
        ("invite", "12", False),
        ("private", "12", False),
        ("public", "1", True),
        ("knock", "12", True),
        ("knock", "6", False),
        ("knock_restricted", "12", True),
        ("restricted", "12", False),
    ],
)
@ensureDeferred
async def test_who_may_know_of_it(server: TestServer, join_rule: str, version: str, stranger: bool) -> None:
    """Strangers of what they could enter or knock at; members and invited users in any case."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, room_version=version, initial_state=[rule(join_rule)])
    path = V1 + room.removeprefix("rooms/")
    for token in (bob, None):
        answer = await server.call("GET", path, token=token)
        assert answer.status == (200 if stranger else 404)
    assert (await server.ok("GET", path, token=alice))["join_rule"] == join_rule
    await server.ok("POST", f"{room}/invite", {"user_id": "@bob:hs.test"}, alice)
    assert (await server.ok("GET", path, token=bob))["membership"] == "invite"
    await server.ok("POST", f"{room}/leave", {}, bob)
    readable = {"history_visibility": "world_readable"}
    await server.ok("PUT", f"{room}/state/m.room.history_visibility", readable, alice)
    assert (await server.ok("GET", path))["world_readable"] is True


@ensureDeferred
async def test_restricted_rooms(server: TestServer) -> None:
    """Who is in a room that opens the door knows of it, and no longer when that has changed."""
    alice, bob = await server.user("alice"), await server.user("bob")
    lobby = await server.room(alice)
    lobby_id = lobby.removeprefix("rooms/")
    allow = [{"type": "m.room_membership", "room_id": lobby_id}]
    room = await server.room(alice, initial_state=[rule("restricted", allow=allow)])
    path = V1 + room.removeprefix("rooms/")
    assert await server.refusal("GET", path, token=bob) == HIDDEN
    await server.ok("POST", f"{lobby}/join", {}, bob)
    assert (await server.ok("GET", path, token=bob))["allowed_room_ids"] == [lobby_id]
    await server.ok("PUT", f"{room}/state/m.room.join_rules", {"join_rule": "invite"}, alice)
    assert await server.refusal("GET", path, token=bob) == HIDDEN
