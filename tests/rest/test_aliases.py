"""Aliases and the public list over HTTP."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database
from tests.rest.rooms_home import RoomsHome, path_part

DEN = f"directory/room/{path_part('#dén:hs.test')}"


@ensureDeferred
async def test_aliases(database: Database) -> None:
    """Made, read without a token, listed, taken, deleted."""
    home = RoomsHome(database)
    alice = await home.user("alice")
    room = await home.room(alice)
    room_id = room.removeprefix("rooms/")
    assert await home.refusal("GET", DEN) == (404, "M_NOT_FOUND")
    assert await home.refusal("PUT", DEN, {}, alice) == (400, "M_MISSING_PARAM")
    assert await home.refusal("PUT", DEN, {"room_id": room_id}) == (401, "M_MISSING_TOKEN")
    assert await home.ok("PUT", DEN, {"room_id": room_id}, alice) == {}
    assert await home.ok("GET", DEN) == {"room_id": room_id, "servers": ["hs.test"]}
    assert await home.ok("GET", f"{room}/aliases", token=alice) == {"aliases": ["#dén:hs.test"]}
    assert await home.refusal("PUT", DEN, {"room_id": room_id}, alice) == (409, "M_UNKNOWN")
    assert await home.ok("DELETE", DEN, token=alice) == {}
    assert await home.refusal("DELETE", DEN, token=alice) == (404, "M_NOT_FOUND")
    assert await home.refusal("GET", "directory/room/den") == (400, "M_INVALID_PARAM")


@ensureDeferred
async def test_the_public_list(database: Database) -> None:
    """Read without a token; written by who may; public when nothing is said."""
    home = RoomsHome(database)
    alice, bob = await home.user("alice"), await home.user("bob")
    path = "directory/list/" + (await home.room(alice)).replace("rooms", "room")
    for body, expected in ((None, "public"), ({"visibility": "private"}, "private"), ({}, "public")):
        assert await home.ok("PUT", path, body, alice) == {}
        assert await home.ok("GET", path) == {"visibility": expected}
    assert await home.refusal("PUT", path, {"visibility": "x"}, alice) == (400, "M_BAD_JSON")
    assert await home.refusal("PUT", path, {"visibility": "private"}, bob) == (403, "M_FORBIDDEN")
    assert await home.refusal("GET", "directory/list/room/!none:hs.test") == (404, "M_NOT_FOUND")
