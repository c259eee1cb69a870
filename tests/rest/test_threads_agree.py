"""Many threads in a room: all who tell of them agree."""

from random import Random
from typing import Any

from pytest_twisted import ensureDeferred

from tests.server import TestServer, path_part

THREADS, REPLIES = 20, 60
V1 = "/_matrix/client/v1"
FILTER = '{"room":{"timeline":{"limit":500,"unread_thread_notifications":true}}}'


@ensureDeferred
async def test_threads_agree(server: TestServer) -> None:
    """/threads, /relations and /sync: which thread is the newest, what is in each in which order, what is unread."""
    chance = Random(1)
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice)
    room_id = room.removeprefix("rooms/")
    await server.ok("POST", f"{room}/join", {}, bob)

    async def say(token: str, number: int, root: str | None = None) -> str:
        relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}} if root else {}
        body = {"msgtype": "m.text", "body": str(number), **relation}
        sent = await server.ok("PUT", f"{room}/send/m.room.message/{number}", body, token)
        return str(sent["event_id"])

    roots = [await say(bob, number) for number in range(THREADS)]
    replies: dict[str, list[str]] = {root: [await say(bob, 100 + n, root)] for n, root in enumerate(roots)}
    unread = dict.fromkeys(roots, 1)
    order = list(roots)
    for number in range(REPLIES):
        root, token = chance.choice(roots), chance.choice([alice, bob, bob])
        replies[root].append(await say(token, 200 + number, root))
        order.remove(root)
        order.append(root)
        unread[root] = 0 if token == alice else unread[root] + 1  # who writes has read
        if chance.random() < 0.3:
            read = chance.choice(roots)
            path = f"{room}/receipt/m.read/{path_part(replies[read][-1])}"
            await server.ok("POST", path, {"thread_id": read}, alice)
            unread[read] = 0

    shown = (await server.ok("GET", f"sync?filter={path_part(FILTER)}", None, alice))["rooms"]["join"][
        room_id
    ]
    assert _threads(shown["timeline"]["events"]) == replies
    counts = shown["unread_thread_notifications"]
    assert {root: one["notification_count"] for root, one in counts.items()} == {
        root: number for root, number in unread.items() if number
    }
    found, start = [], ""
    while start is not None:
        page = await server.ok("GET", f"{V1}/{room}/threads?limit=7{start and '&from=' + start}", None, alice)
        found += page["chunk"]
        start = page.get("next_batch")
    assert [event["event_id"] for event in found] == order[::-1]
    for event in found:
        thread = event["unsigned"]["m.relations"]["m.thread"]
        ids = replies[event["event_id"]]
        assert (thread["count"], thread["latest_event"]["event_id"]) == (len(ids), ids[-1])
    for root in roots:
        path = f"{V1}/{room}/relations/{path_part(root)}/m.thread?limit=100"
        chunk = (await server.ok("GET", path, None, alice))["chunk"]
        assert [event["event_id"] for event in chunk] == replies[root][::-1]


def _threads(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for event in events:
        relation = event["content"].get("m.relates_to")
        if relation:
            found.setdefault(relation["event_id"], []).append(event["event_id"])
    return {root: found[root] for root in sorted(found, key=lambda one: _place(events, one))}


def _place(events: list[dict[str, Any]], event_id: str) -> int:
    return next(place for place, event in enumerate(events) if event["event_id"] == event_id)
