"""Rooms shared with another user, over HTTP."""

import pytest
from pytest_twisted import ensureDeferred

from tests.server import TestServer

PATH = "/_matrix/client/v1/mutual_rooms"
BOB = "user_id=%40bob:hs.test"


@ensureDeferred
async def test_mutual_rooms(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those in which both are joined now, page by page; with exactly the keys of the specification."""
    monkeypatch.setattr("synapse_lite.handlers.mutual_rooms.PAGE", 2)
    alice, bob = await server.user("alice"), await server.user("bob")
    rooms = [await server.room(alice) for _ in range(5)]
    assert await server.ok("GET", f"{PATH}?{BOB}", token=alice) == {"joined": [], "count": 0}
    for room in rooms[:4]:
        await server.ok("POST", f"{room}/join", {}, bob)
    await server.ok("POST", f"{rooms[3]}/leave", {}, bob)
    await server.ok("POST", f"{rooms[4]}/invite", {"user_id": "@bob:hs.test"}, alice)
    shared = sorted(room.removeprefix("rooms/") for room in rooms[:3])
    first = await server.ok("GET", f"{PATH}?{BOB}", token=alice)
    assert first == {"joined": shared[:2], "count": 3, "next_batch": first["next_batch"]}
    second = await server.ok("GET", f"{PATH}?{BOB}&from={first['next_batch']}", token=alice)
    assert second == {"joined": shared[2:], "count": 3}


@ensureDeferred
async def test_refusals(server: TestServer) -> None:
    """Oneself, nobody, what is no user id, tokens of nothing; nobody unknown is shared with."""
    alice = await server.user("alice")
    for query, code in (
        ("user_id=%40alice:hs.test", "M_INVALID_PARAM"),
        ("user_id=bob", "M_INVALID_PARAM"),
        (f"{BOB}&from=x", "M_INVALID_PARAM"),
        ("", "M_MISSING_PARAM"),
    ):
        assert await server.refusal("GET", f"{PATH}?{query}", token=alice) == (400, code)
    unknown = await server.ok("GET", f"{PATH}?user_id=%40no:other.test", token=alice)
    assert unknown == {"joined": [], "count": 0}
