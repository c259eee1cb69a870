"""matrix-nio, event by event: rules and what they count, receipts, threads; a space, a knock, an upgrade."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import nio

parameters = json.loads(sys.argv[1])
THREAD = nio.api.RelationshipType.thread


async def log_in(stack: AsyncExitStack, number: int) -> nio.AsyncClient:
    user = parameters["users"][number]
    client = nio.AsyncClient(parameters["baseUrls"][number], user["name"])
    stack.push_async_callback(client.close)
    sure(await client.login(user["password"]))
    sure(await client.sync())
    return client


def sure(answer: Any) -> Any:
    if isinstance(answer, nio.ErrorResponse):
        raise TypeError(answer)
    return answer


async def until(client: nio.AsyncClient, condition: Callable[[], Any]) -> Any:
    """What the condition is once it is true; it is asked after each sync."""
    deadline = time.monotonic() + 300
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(condition)
        sure(await client.sync(timeout=1000))
    return found


async def say(client: nio.AsyncClient, room_id: str, text: str, **content: Any) -> str:
    content = {"msgtype": "m.text", "body": text, **content}
    return sure(await client.room_send(room_id, "m.room.message", content)).event_id


async def unread(alice: nio.AsyncClient, bob: nio.AsyncClient) -> dict[str, Any]:
    """Rules of the content and of the sender change what bob's counts say; private receipts bring them down."""
    room_id = sure(await alice.room_create(preset=nio.RoomPreset.public_chat)).room_id
    sure(await bob.join(room_id))
    await until(bob, lambda: room_id in bob.rooms)

    def counts(total: int, highlights: int) -> Callable[[], bool]:
        room = bob.rooms[room_id]
        return lambda: (room.unread_notifications, room.unread_highlights) == (total, highlights)

    rules = nio.api.PushRuleKind
    loud = [nio.PushNotify(), nio.PushSetTweak("highlight", True)]
    sure(await bob.set_pushrule("global", rules.content, "cheese", pattern="che*se", actions=loud))
    sure(await bob.set_pushrule("global", rules.sender, alice.user_id, actions=[nio.PushDontNotify()]))
    await say(alice, room_id, "Bread and CHEESE")
    await until(bob, counts(1, 1))
    sure(await bob.enable_pushrule("global", rules.content, "cheese", enable=False))
    await say(alice, room_id, "cheese, again")
    sure(await bob.set_pushrule_actions("global", rules.sender, alice.user_id, [nio.PushNotify()]))
    last = await say(alice, room_id, "butter")
    await until(bob, counts(3, 0))  # what is counted follows the rules as they are now
    sure(await bob.delete_pushrule("global", rules.content, "cheese"))
    again = await bob.delete_pushrule("global", rules.content, "cheese")
    sure(await bob.update_receipt_marker(room_id, last, nio.api.ReceiptType.read_private))
    await until(bob, counts(0, 0))
    newest = await say(alice, room_id, "milk")
    await until(bob, counts(1, 0))
    sure(await bob.room_read_markers(room_id, last, private_read_event=newest))
    await until(bob, counts(0, 0))
    return {"again": again.status_code, "marker": bob.rooms[room_id].fully_read_marker == last}


async def threads(alice: nio.AsyncClient, bob: nio.AsyncClient) -> dict[str, Any]:
    """Two at a time, the iterators bring everything once."""
    room_id = sure(await alice.room_create(preset=nio.RoomPreset.public_chat)).room_id
    sure(await bob.join(room_id))
    roots, replies = [], {}
    for number in range(5):
        root = await say(alice, room_id, f"root {number}")
        relation = {"rel_type": "m.thread", "event_id": root}
        speaker = bob if number == 3 else alice
        replies[root] = [
            await say(speaker, room_id, f"reply {number}", **{"m.relates_to": relation}) for _ in range(3)
        ]
        roots.append(root)
    included = nio.api.ThreadInclusion
    listed = [event.event_id async for event in bob.room_get_threads(room_id, included.all, 2)]
    mine = [event.event_id async for event in bob.room_get_threads(room_id, included.participated, 2)]
    related = bob.room_get_event_relations(room_id, roots[0], THREAD, limit=2)
    found = [event.event_id async for event in related]
    return {
        "listed": listed == roots[::-1],
        "mine": mine == [roots[3]],
        "replies": found == replies[roots[0]][::-1],
    }


async def rooms(alice: nio.AsyncClient, bob: nio.AsyncClient) -> dict[str, Any]:
    """A directory and a space are paged; bob knocks, and follows into the room's next version, which nio makes itself."""
    names = [f"nio's room {number}" for number in range(3)]
    made = [
        sure(await alice.room_create(nio.RoomVisibility.public, name=name, preset=nio.RoomPreset.public_chat))
        for name in names
    ]
    page = sure(await bob.list_public_rooms(limit=2, filter_generic_search_term="NIO'S"))
    rest = sure(
        await bob.list_public_rooms(limit=2, since=page.next_batch, filter_generic_search_term="nio's")
    )
    space = sure(await alice.room_create(name="Space", space=True, preset=nio.RoomPreset.public_chat)).room_id
    for room in made:
        sure(await alice.room_put_state(space, "m.space.child", {"via": ["site.test"]}, room.room_id))
    first = sure(await bob.space_get_hierarchy(space, limit=3))
    second = sure(await bob.space_get_hierarchy(space, from_page=first.next_batch, limit=3))

    old = sure(await alice.room_create(alias="lounge", name="Lounge", room_version="10")).room_id
    sure(await alice.room_enable_knocking(old))
    sure(await bob.room_knock(old, "please"))
    knock = sure(await alice.room_get_state_event(old, "m.room.member", bob.user_id)).content
    sure(await alice.room_invite(old, bob.user_id))
    await until(bob, lambda: old in bob.invited_rooms)
    sure(await bob.join(old))
    upgraded = sure(await alice.room_upgrade(old, "11"))
    stone = sure(await bob.room_get_state_event(old, "m.room.tombstone")).content
    sure(await bob.room_knock(upgraded.room_id))
    alias = sure(await bob.room_resolve_alias("#lounge:site.test")).room_id
    context = sure(await alice.room_context(upgraded.room_id, await say(alice, upgraded.room_id, "hi")))
    return {
        "directory": sorted(room.name for room in (*page.public_rooms, *rest.public_rooms)) == names,
        "space": sorted(room["name"] for room in (*first.rooms, *second.rooms)) == ["Space", *names],
        "knock": (knock["membership"], knock["reason"]),
        "upgraded": (stone["replacement_room"] == alias == upgraded.room_id, context.event.body),
        "visibility": sure(await bob.room_get_visibility(made[0].room_id)).visibility,
    }


async def main() -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        alice, bob = await log_in(stack, 0), await log_in(stack, 1)
        return {
            "unread": await unread(alice, bob),
            "threads": await threads(alice, bob),
            "rooms": await rooms(alice, bob),
        }


json.dump(asyncio.run(main()), sys.stdout)
