"""Users follow threads (MSC4306), and hear of it in sliding sync (MSC4308)."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.server import TestServer, path_part

SLIDING = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
PAGES = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"
NAME = "io.element.msc4308.thread_subscriptions"
NOT_FOUND = (404, "M_NOT_FOUND")


def path(room: str, root: str) -> str:
    return f"/_matrix/client/unstable/io.element.msc4306/{room}/thread/{path_part(root)}/subscription"


async def say(server: TestServer, token: str, room: str, number: int, root: str | None = None) -> str:
    relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}} if root else {}
    body = {"msgtype": "m.text", "body": "x", **relation}
    event_id: str = (await server.ok("PUT", f"{room}/send/m.room.message/{number}", body, token))["event_id"]
    return event_id


async def told(server: TestServer, token: str, pos: str | None = None, limit: int = 100) -> tuple[Any, str]:
    body = {"extensions": {NAME: {"enabled": True, "limit": limit}}}
    answer = await server.ok("POST", SLIDING + (f"?pos={pos}" if pos else ""), body, token)
    return answer["extensions"].get(NAME), answer["pos"]


@ensureDeferred
async def test_following(server: TestServer) -> None:
    """One's own choice counts more than that of a client; only who sees the thread has one."""
    token, stranger = await server.user("alice"), await server.user("bob")
    room = await server.room(token, preset="private_chat")
    root, other = await say(server, token, room, 1), await say(server, token, room, 2)
    reply = await say(server, token, room, 3, root)
    assert await server.refusal("GET", path(room, root), None, token) == NOT_FOUND
    assert await server.ok("PUT", path(room, root), {"automatic": reply}, token) == {}
    assert await server.ok("GET", path(room, root), None, token) == {"automatic": True}
    await server.ok("PUT", path(room, root), {}, token)
    await server.ok("PUT", path(room, root), {"automatic": reply}, token)
    assert await server.ok("GET", path(room, root), None, token) == {"automatic": False}
    for _ in range(2):
        assert await server.ok("DELETE", path(room, root), None, token) == {}
    assert await server.refusal("GET", path(room, root), None, token) == NOT_FOUND
    assert await server.refusal("PUT", path(room, root), {"automatic": reply}, token) == (
        409,
        "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION",
    )
    later = await say(server, token, room, 4, root)
    await server.ok("PUT", path(room, root), {"automatic": later}, token)
    assert await server.refusal("PUT", path(room, root), {"automatic": other}, token) == (
        400,
        "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD",
    )
    for method in ("GET", "PUT", "DELETE"):
        body = {} if method == "PUT" else None
        assert await server.refusal(method, path(room, root), body, stranger) == NOT_FOUND
        assert await server.refusal(method, path(room, "$unknown"), body, token) == NOT_FOUND


@ensureDeferred
async def test_clients_hear_of_it(server: TestServer) -> None:
    """Each change once, the newest first; what has no room in an answer is on pages. /sync is silent about it."""
    token = await server.user("alice")
    room = await server.room(token)
    room_id = room.removeprefix("rooms/")
    roots = [await say(server, token, room, number) for number in range(4)]
    assert (await told(server, token))[0] is None
    nothing, pos = await told(server, token)
    assert nothing is None
    for root in roots[:2]:
        await server.ok("PUT", path(room, root), {}, token)
    found, pos = await told(server, token, pos)
    assert {root: one["automatic"] for root, one in found["subscribed"][room_id].items()} == dict.fromkeys(
        roots[:2], False
    )
    await server.ok("DELETE", path(room, roots[0]), None, token)
    found, pos = await told(server, token, pos)
    assert (found.keys(), found["unsubscribed"][room_id].keys()) == ({"unsubscribed"}, {roots[0]})
    assert (await told(server, token, pos))[0] is None
    for root in roots[2:]:
        await server.ok("PUT", path(room, root), {}, token)
    found, _ = await told(server, token, pos, limit=1)
    assert found["subscribed"][room_id].keys() == {roots[3]}
    page = await server.ok("GET", f"{PAGES}?dir=b&from={found['prev_batch']}&to={pos}", None, token)
    assert page["subscribed"][room_id].keys() == {roots[2]}
    assert "end" not in page
    everything, start = [], ""
    while start is not None:
        page = await server.ok("GET", f"{PAGES}?dir=b&limit=1{start and '&from=' + start}", None, token)
        for part in ("subscribed", "unsubscribed"):
            everything += page.get(part, {}).get(room_id, ())
        start = page.get("end")
    assert everything == [roots[3], roots[2], roots[0], roots[1]]
    v3 = await server.ok("GET", "sync", None, token)
    assert "thread_subscriptions" not in v3
    assert await server.refusal("GET", f"{PAGES}?dir=f", None, token) == (400, "M_INVALID_PARAM")
