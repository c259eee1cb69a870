"""The operator's rules about aliases and the directory of rooms."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.server import TestServer, path_part

DENIED = (403, "M_UNKNOWN")
RULES: list[dict[str, Any]] = [{"user_id": "@bob:*", "action": "deny"}, {"alias": "#ok*", "action": "allow"}]


def _alias(name: str) -> str:
    return f"directory/room/{path_part(f'#{name}:{SERVER}')}"


async def _listed(server: TestServer, room: str) -> str:
    visibility: str = (await server.ok("GET", room.replace("rooms/", "directory/list/room/")))["visibility"]
    return visibility


@ensureDeferred
async def test_aliases_that_are_allowed(build_server: BuildServer) -> None:
    """The first rule that fits decides, none is a no, also for administrators and for new rooms, which are not made."""
    server = await build_server(alias_creation_rules=RULES)
    alice, bob = await server.user("alice"), await server.user("bob", is_admin=True)
    for token, name, allowed in ((alice, "ok1", True), (alice, "other1", False), (bob, "okb", False)):
        room = await server.room(token)
        path, body = _alias(name), {"room_id": room.removeprefix("rooms/")}
        assert await server.refusal("PUT", path, body, token) == ((200, None) if allowed else DENIED)
        before = await server.ok("GET", "joined_rooms", None, token)
        creating = await server.refusal("POST", "createRoom", {"room_alias_name": f"{name}x"}, token)
        assert creating == ((200, None) if allowed else DENIED)
        made = len((await server.ok("GET", "joined_rooms", None, token))["joined_rooms"])
        assert made - len(before["joined_rooms"]) == int(allowed)


@ensureDeferred
async def test_an_empty_list_of_rules_denies_every_alias(build_server: BuildServer) -> None:
    """None fits, so none is allowed."""
    server = await build_server(alias_creation_rules=[])
    token = await server.user("alice")
    assert await server.refusal("POST", "createRoom", {"room_alias_name": "a"}, token) == DENIED


@ensureDeferred
async def test_rooms_that_may_be_published(build_server: BuildServer) -> None:
    """A rule with an alias needs one that the room has; who may not publish gets the room, unlisted, and may unlist."""
    server = await build_server(room_list_publication_rules=RULES)
    alice, bob = await server.user("alice"), await server.user("bob")
    assert await _listed(server, await server.room(alice, visibility="public")) == "private"
    named = await server.room(alice, visibility="public", room_alias_name="ok1")
    assert await _listed(server, named) == "public"
    assert await _listed(server, await server.room(bob, visibility="public")) == "private"
    room = await server.room(alice)
    path = room.replace("rooms/", "directory/list/room/")
    assert await server.refusal("PUT", path, {"visibility": "public"}, alice) == DENIED
    await server.ok("PUT", _alias("ok2"), {"room_id": room.removeprefix("rooms/")}, alice)
    await server.ok("PUT", path, {"visibility": "public"}, alice)
    await server.ok("PUT", path, {"visibility": "private"}, alice)
    assert await _listed(server, room) == "private"


@ensureDeferred
async def test_without_rules_nobody_publishes(build_server: BuildServer) -> None:
    """As Synapse since 1.126: a directory is the operator's choice, not even administrators go around it."""
    server = await build_server(room_list_publication_rules=None)
    token = await server.user("admin", is_admin=True)
    room = await server.room(token, visibility="public")
    assert await _listed(server, room) == "private"
    path = room.replace("rooms/", "directory/list/room/")
    assert await server.refusal("PUT", path, {"visibility": "public"}, token) == DENIED
