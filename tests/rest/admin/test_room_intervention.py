"""Administrators bring users into rooms, and to power there."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.rest.admin_server import V1, AdminServer
from tests.server import path_part

ADMIN, ALICE, BOB = (f"@{name}:{SERVER}" for name in ("admin", "alice", "bob"))
UNKNOWN = (400, "M_UNKNOWN")
NOT_FOUND = (404, "M_NOT_FOUND")
FORBIDDEN = (403, "M_FORBIDDEN")


async def state(server: AdminServer, room: str, kind: str, key: str = "") -> Any:
    """The content of the state event, as the administrator sees it; None when there is none."""
    found = (await server.admin("GET", f"{V1}/{room}/state?type={kind}"))["state"]
    return next((event["content"] for event in found if event["state_key"] == key), None)


async def membership(server: AdminServer, room: str, user_id: str) -> str | None:
    content = await state(server, room, "m.room.member", user_id)
    return content and content["membership"]


def room_id(room: str) -> str:
    return room.removeprefix("rooms/")


@ensureDeferred
async def test_joining_a_public_room(server: AdminServer) -> None:
    """Without an invite, by its id or its alias; once more is no change."""
    alice = await server.user("alice")
    await server.user("bob")
    room = await server.room(alice, room_alias_name="hall")
    alias = path_part(f"#hall:{SERVER}")
    for name in (alias, room_id(room)):
        answer = await server.admin("POST", f"{V1}/join/{name}", {"user_id": BOB})
        assert answer == {"room_id": room_id(room)}
        assert await membership(server, room, BOB) == "join"
    page = await server.admin("GET", f"{V1}/{room}/messages?dir=b&limit=100")
    changes = [event["content"]["membership"] for event in page["chunk"] if event.get("state_key") == BOB]
    assert changes == ["join"]


@ensureDeferred
async def test_joining_a_private_room(server: AdminServer) -> None:
    """The administrator invites, if they can; who is invited already needs nobody."""
    alice = await server.user("alice")
    await server.user("bob")
    room = await server.room(alice, preset="private_chat")
    path = f"{V1}/join/{room_id(room)}"
    assert await server.refusal("POST", path, {"user_id": BOB}, server.token) == FORBIDDEN
    assert await membership(server, room, BOB) is None
    await server.ok("POST", f"{room}/invite", {"user_id": BOB}, alice)
    await server.admin("POST", path, {"user_id": BOB})
    assert await membership(server, room, BOB) == "join"
    own = await server.room(server.token, preset="private_chat")
    await server.admin("POST", f"{V1}/join/{room_id(own)}", {"user_id": BOB})
    assert await membership(server, own, BOB) == "join"


@ensureDeferred
async def test_joins_that_cannot_be(server: AdminServer) -> None:
    """Users of other servers, users and rooms that there are not, malformed names, a ban."""
    alice = await server.user("alice")
    await server.user("bob")
    room = await server.room(alice)
    path = f"{V1}/join/{room_id(room)}"
    for body, expected in (
        ({}, (400, "M_MISSING_PARAM")),
        ({"user_id": 5}, (400, "M_BAD_JSON")),
        ({"user_id": "bob"}, (400, "M_INVALID_PARAM")),
        ({"user_id": "@far:elsewhere.test"}, UNKNOWN),
        ({"user_id": f"@none:{SERVER}"}, NOT_FOUND),
    ):
        assert await server.refusal("POST", path, body, server.token) == expected
    for name, expected in (
        ("nonsense", UNKNOWN),
        (path_part(f"#none:{SERVER}"), NOT_FOUND),
        (f"!none:{SERVER}", NOT_FOUND),
    ):
        assert await server.refusal("POST", f"{V1}/join/{name}", {"user_id": BOB}, server.token) == expected
    await server.ok("POST", f"{room}/ban", {"user_id": BOB}, alice)
    assert await server.refusal("POST", path, {"user_id": BOB}, server.token) == FORBIDDEN


@pytest.mark.parametrize("version", ["6", "11", "12"])
@ensureDeferred
async def test_a_new_admin_of_a_room(server: AdminServer, version: str) -> None:
    """Has the power of who made it, keeps what others have, and is invited into a private one."""
    alice = await server.user("alice")
    await server.user("bob")
    room = await server.room(alice, preset="private_chat", room_version=version)
    before = await state(server, room, "m.room.power_levels")
    assert await server.admin("POST", f"{V1}/{room}/make_room_admin", {"user_id": BOB}) == {}
    after = await state(server, room, "m.room.power_levels")
    assert after == before | {"users": before["users"] | {BOB: 100}}
    assert await membership(server, room, BOB) == "invite"
    await server.admin("POST", f"{V1}/{room}/make_room_admin", {"user_id": BOB})
    assert await state(server, room, "m.room.power_levels") == after


@ensureDeferred
async def test_the_caller_by_default(server: AdminServer) -> None:
    """Of a public room, by its alias: nobody is invited. The power is the highest that there is."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, room_version="11", room_alias_name="hall")
    await server.ok("POST", f"{room}/join", {}, bob)
    levels = await state(server, room, "m.room.power_levels")
    lower = levels | {"users": {ALICE: 60, BOB: 10}}
    await server.ok("PUT", f"{room}/state/m.room.power_levels/", lower, alice)
    alias = path_part(f"#hall:{SERVER}")
    # 60 is less than the room asks of who changes its levels.
    assert await server.refusal("POST", f"{V1}/rooms/{alias}/make_room_admin", None, server.token) == UNKNOWN
    own = await server.room(alice, room_alias_name="own")
    alias = path_part(f"#own:{SERVER}")
    assert await server.admin("POST", f"{V1}/rooms/{alias}/make_room_admin", b"") == {}
    assert (await state(server, own, "m.room.power_levels"))["users"][ADMIN] == 100
    assert await membership(server, own, ADMIN) is None


@ensureDeferred
async def test_a_room_where_everybody_could(server: AdminServer) -> None:
    """Who has the power by default is as good as who was given it."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, room_version="11")
    await server.ok("POST", f"{room}/join", {}, bob)
    levels = await state(server, room, "m.room.power_levels") | {"users_default": 100}
    await server.ok("PUT", f"{room}/state/m.room.power_levels/", levels, alice)
    await server.ok("POST", f"{room}/leave", {}, alice)
    lower = levels | {"users_default": 0, "users": {ALICE: 100, BOB: 100}}
    assert await server.admin("POST", f"{V1}/{room}/make_room_admin", {"user_id": ADMIN}) == {}
    await server.ok("PUT", f"{room}/state/m.room.power_levels/", lower, bob)
    assert await server.admin("POST", f"{V1}/{room}/make_room_admin", {"user_id": ADMIN}) == {}
    assert (await state(server, room, "m.room.power_levels"))["users"][ADMIN] == 100


@pytest.mark.parametrize("is_joined", [True, False])
@ensureDeferred
async def test_creators_stand_above_levels(server: AdminServer, is_joined: bool) -> None:
    """From version 12 on they are in no list of users, and nobody has their power when they have left."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, room_version="12")
    await server.ok("POST", f"{room}/join", {}, bob)
    path = f"{V1}/{room}/make_room_admin"
    assert await server.admin("POST", path, {"user_id": ALICE}) == {}
    assert (await state(server, room, "m.room.power_levels"))["users"] == {}
    if is_joined:
        assert await server.admin("POST", path, {"user_id": BOB}) == {}
        assert (await state(server, room, "m.room.power_levels"))["users"] == {BOB: 100}
    else:
        await server.ok("POST", f"{room}/leave", {}, alice)
        assert await server.refusal("POST", path, {"user_id": BOB}, server.token) == UNKNOWN


@ensureDeferred
async def test_rooms_without_anybody_who_could(server: AdminServer) -> None:
    """Nobody of this server is in the room, or nobody who has power; unknown and malformed rooms."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice)
    await server.ok("POST", f"{room}/join", {}, bob)
    await server.ok("POST", f"{room}/leave", {}, alice)
    path = f"{V1}/{room}/make_room_admin"
    assert await server.refusal("POST", path, {}, server.token) == UNKNOWN
    await server.ok("POST", f"{room}/leave", {}, bob)
    assert await server.refusal("POST", path, {}, server.token) == UNKNOWN
    for name, expected in ((f"!none:{SERVER}", NOT_FOUND), ("nonsense", UNKNOWN)):
        other = f"{V1}/rooms/{name}/make_room_admin"
        assert await server.refusal("POST", other, {}, server.token) == expected
    assert await server.refusal("POST", path, {"user_id": "x"}, server.token) == (400, "M_INVALID_PARAM")
