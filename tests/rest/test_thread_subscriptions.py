"""Users follow threads (MSC4306), and hear of it in sliding sync (MSC4308)."""

from typing import Any

import pytest_twisted
from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer, path_part

SLIDING = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
PAGES = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"
NAME = "io.element.msc4308.thread_subscriptions"
NOT_FOUND = (404, "M_NOT_FOUND")
THREADED = path_part('{"room":{"timeline":{"unread_thread_notifications":true}}}')
RULE = ".io.element.msc4306.rule"


@pytest_twisted.async_fixture
async def server(build_server: BuildServer) -> TestServer:
    return await build_server(**OPEN, experimental_features={"msc4306_enabled": True})


def path(room: str, root: str) -> str:
    return f"/_matrix/client/unstable/io.element.msc4306/{room}/thread/{path_part(root)}/subscription"


async def say(
    server: TestServer, token: str, room: str, number: int, root: str | None = None, **more: Any
) -> str:
    relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}} if root else {}
    body = {"msgtype": "m.text", "body": "x", **relation, **more}
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


class Counts:
    """What a client is told of the unread messages of a room: of the main timeline, and of each thread."""

    def __init__(self, server: TestServer, token: str, room: str) -> None:
        self.server = server
        self.token = token
        self.room_id = room.removeprefix("rooms/")
        self.since = ""
        self.known: dict[str, tuple[int, int]] = {}

    async def now(self) -> dict[str, tuple[int, int]]:
        """Those that are not zero, the same for who has followed and for who begins now."""
        answer = await self._sync(self.since)
        self.since = f"&since={answer['next_batch']}"
        found = answer["rooms"]["join"].get(self.room_id, {}) if "rooms" in answer else {}
        if "unread_notifications" in found:
            self.known = _counts(found)
        anew = await self._sync("")
        assert _counts(anew["rooms"]["join"][self.room_id]) == self.known
        return self.known

    async def _sync(self, since: str) -> Any:
        return await self.server.ok("GET", f"sync?filter={THREADED}{since}", None, self.token)


def _counts(room: Any) -> dict[str, tuple[int, int]]:
    by_thread = {"main": room["unread_notifications"], **room["unread_thread_notifications"]}
    found = {name: (one["notification_count"], one["highlight_count"]) for name, one in by_thread.items()}
    return {name: one for name, one in found.items() if one != (0, 0)}


@ensureDeferred
async def test_only_threads_that_one_follows_notify(server: TestServer) -> None:
    """Others do so only for whom they mention; a followed one does, whatever is set for the room."""
    token, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(token, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    counts = Counts(server, bob, room)
    root, other = await say(server, token, room, 1), await say(server, token, room, 2)
    assert await counts.now() == {"main": (2, 0)}
    await say(server, token, room, 3, root)
    assert await counts.now() == {"main": (2, 0)}
    mention = {"m.mentions": {"user_ids": ["@bob:hs.test"]}}
    mentioning = await say(server, token, room, 4, root, **mention)
    assert await counts.now() == {"main": (2, 0), root: (1, 1)}
    await server.ok("PUT", path(room, root), {"automatic": mentioning}, bob)
    assert await counts.now() == {"main": (2, 0), root: (2, 1)}
    await say(server, token, room, 5, root)
    await say(server, token, room, 6, other)
    assert await counts.now() == {"main": (2, 0), root: (3, 1)}
    room_id = path_part(room.removeprefix("rooms/"))
    await server.ok("PUT", f"pushrules/global/room/{room_id}", {"actions": []}, bob)
    assert await counts.now() == {root: (3, 1)}
    page = await server.ok("GET", "notifications", None, bob)
    assert len(page["notifications"]) == 3
    await server.ok("DELETE", path(room, root), None, bob)
    assert await counts.now() == {root: (1, 1)}
    assert [
        one["event"]["event_id"]
        for one in (await server.ok("GET", "notifications", None, bob))["notifications"]
    ] == [mentioning]


@ensureDeferred
async def test_the_rules_can_be_turned_off(server: TestServer) -> None:
    """They are the server's: nobody makes others of that kind."""
    token, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(token, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    rules = await server.ok("GET", "pushrules/global/", None, bob)
    assert [rule["rule_id"] for rule in rules["postcontent"]] == [
        f"{RULE}.unsubscribed_thread",
        f"{RULE}.subscribed_thread",
    ]
    assert list(rules) == ["override", "content", "postcontent", "room", "sender", "underride"]
    assert await server.refusal("PUT", "pushrules/global/postcontent/mine", {"actions": []}, bob) == (
        400,
        "M_INVALID_PARAM",
    )
    counts = Counts(server, bob, room)
    root = await say(server, token, room, 1)
    await say(server, token, room, 2, root)
    assert await counts.now() == {"main": (1, 0)}
    rule = f"pushrules/global/postcontent/{RULE}.unsubscribed_thread/enabled"
    await server.ok("PUT", rule, {"enabled": False}, bob)
    assert await counts.now() == {"main": (1, 0), root: (1, 0)}
    synced = await server.ok("GET", "sync", None, bob)
    (shown,) = [one for one in synced["account_data"]["events"] if one["type"] == "m.push_rules"]
    assert shown["content"]["global"]["postcontent"][0]["enabled"] is False


@ensureDeferred
async def test_off_unless_turned_on(build_server: BuildServer) -> None:
    """Then no client sees anything of it."""
    server = await build_server(**OPEN)
    token = await server.user("alice")
    room = await server.room(token)
    root = await say(server, token, room, 1)
    assert await server.refusal("PUT", path(room, root), {}, token) == (404, "M_UNRECOGNIZED")
    assert await server.refusal("GET", f"{PAGES}?dir=b", None, token) == (404, "M_UNRECOGNIZED")
    versions = await server.ok("GET", "/_matrix/client/versions", None, token)
    assert versions["unstable_features"]["org.matrix.msc4306"] is False
    assert "postcontent" not in (await server.ok("GET", "pushrules/global/", None, token))
    assert (await told(server, token))[0] is None
