"""Aliases and the public list over HTTP."""

from pytest_twisted import ensureDeferred

from tests.server import TestServer, path_part

DEN = f"directory/room/{path_part('#dén:hs.test')}"


@ensureDeferred
async def test_aliases(server: TestServer) -> None:
    """Made, read without a token, listed, taken, deleted."""
    alice = await server.user("alice")
    room = await server.room(alice)
    room_id = room.removeprefix("rooms/")
    assert await server.refusal("GET", DEN) == (404, "M_NOT_FOUND")
    assert await server.refusal("PUT", DEN, {}, alice) == (400, "M_MISSING_PARAM")
    assert await server.refusal("PUT", DEN, {"room_id": room_id}) == (401, "M_MISSING_TOKEN")
    assert await server.ok("PUT", DEN, {"room_id": room_id}, alice) == {}
    assert await server.ok("GET", DEN) == {"room_id": room_id, "servers": ["hs.test"]}
    assert await server.ok("GET", f"{room}/aliases", token=alice) == {"aliases": ["#dén:hs.test"]}
    assert await server.refusal("PUT", DEN, {"room_id": room_id}, alice) == (409, "M_UNKNOWN")
    assert await server.ok("DELETE", DEN, token=alice) == {}
    assert await server.refusal("DELETE", DEN, token=alice) == (404, "M_NOT_FOUND")
    assert await server.refusal("GET", "directory/room/den") == (400, "M_INVALID_PARAM")


@ensureDeferred
async def test_the_public_list(server: TestServer) -> None:
    """Read without a token; written by who may; public when nothing is said."""
    alice, bob = await server.user("alice"), await server.user("bob")
    path = "directory/list/" + (await server.room(alice)).replace("rooms", "room")
    for body, expected in ((None, "public"), ({"visibility": "private"}, "private"), ({}, "public")):
        assert await server.ok("PUT", path, body, alice) == {}
        assert await server.ok("GET", path) == {"visibility": expected}
    assert await server.refusal("PUT", path, {"visibility": "x"}, alice) == (400, "M_BAD_JSON")
    assert await server.refusal("PUT", path, {"visibility": "private"}, bob) == (403, "M_FORBIDDEN")
    assert await server.refusal("GET", "directory/list/room/!none:hs.test") == (404, "M_NOT_FOUND")
