"""Syncs, deliveries and history."""

import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from benchmarks.bench import Bench, check_room, send_many
from benchmarks.client import Inbox, Json, Metrics, User, check, each, latency

WRITERS = 8
PAGE = 100
SETTLE_S = 1.0
PAUSE_S = 0.01
OTHER_SESSIONS = 5


async def sync_latency(bench: Bench) -> Metrics:
    """From the start of a send to its arrival at one long-polling receiver."""
    return await deliveries(bench, 1, bench.sizes.latency_messages)


async def sync_fanout(bench: Bench) -> Metrics:
    """From the start of a send to its arrival at the last of 200 long-polling receivers."""
    return await deliveries(bench, bench.sizes.fanout_users, bench.sizes.fanout_messages)


async def deliveries(bench: Bench, receivers: int, messages: int) -> Metrics:
    """Send one message at a time; each latency ends when the last receiver has it."""
    sender, *members = await bench.users(receivers + 1)
    room = await bench.room_with(sender, members)
    inboxes = [Inbox(member, room) for member in members]
    bodies = [f"message {number}" for number in range(messages)]
    await each(lambda inbox: inbox.user.make_filter(), inboxes)
    firsts = await each(lambda inbox: inbox.user.sync(), inboxes)
    return await arrivals(inboxes, firsts, bodies, lambda body: sender.send(room, body))


async def arrivals(
    inboxes: Sequence[Inbox],
    firsts: Sequence[Json],
    texts: Sequence[str],
    send: Callable[[str], Coroutine[Any, Any, object]],
) -> Metrics:
    """Send one text at a time to long polls that go on from `firsts`; each latency ends when the last receiver has it."""
    times = []
    async with asyncio.TaskGroup() as group:
        polls = [
            group.create_task(inbox.poll(first["next_batch"]))
            for inbox, first in zip(inboxes, firsts, strict=True)
        ]
        await asyncio.sleep(SETTLE_S)  # every long poll has begun
        for text in texts:
            start = time.perf_counter()
            sent = group.create_task(send(text))
            arrived = await asyncio.gather(*(inbox.wait_for(text) for inbox in inboxes))
            times.append(max(arrived) - start)
            await sent
            await asyncio.sleep(PAUSE_S)  # the receivers poll again
        for poll in polls:
            poll.cancel()
    complete = all(inbox.bodies == list(texts) for inbox in inboxes)
    check(complete, "lost, repeated or reordered messages")
    return latency(times)


async def initial_sync(bench: Bench) -> Metrics:
    """/sync without `since` for one user in 100 rooms.

    Synapse keeps the answer to an initial sync for a while, by all its parameters.  So the
    timeout, which has no effect here, varies; `repeat_` is the very same request again, and
    `other_session_` the first request of a new session of that user, of which `first_ms` is the
    first one of all.
    """
    user = await bench.register()
    count, repeats = bench.sizes.sync_rooms, range(bench.sizes.sync_repeats)
    rooms = await each(lambda _: user.create_room(), range(count), 4)

    async def timed_sync(timeout_ms: int, user: User = user) -> float:
        start = time.perf_counter()
        answer = await user.sync(timeout_ms=timeout_ms)
        seconds = time.perf_counter() - start
        check(answer["rooms"]["join"].keys() == set(rooms), "not exactly the user's rooms")
        return seconds

    others = [await user.another_session() for _ in range(OTHER_SESSIONS)]
    for one in (user, *others):
        await one.make_filter()
    await bench.rest()
    first = await timed_sync(0)
    sessions = [await timed_sync(1 + number, one) for number, one in enumerate(others)]
    fresh = []
    for number in repeats:
        await user.send(rooms[number % count], "news")
        fresh.append(await timed_sync(100 + number))
    repeated = [await timed_sync(0) for _ in repeats]
    return {
        **latency(fresh),
        **latency(repeated, "repeat_"),
        "first_ms": 1000 * first,
        "other_session_rise": statistics.median(sessions) / first,
    }


async def messages(bench: Bench) -> Metrics:
    """Read a room of 1000 messages backwards through /messages, 100 at a time, twenty times."""
    users = await bench.users(WRITERS)
    room = await bench.room_with(users[0], users[1:])
    share = bench.sizes.history_events // len(users)
    sent = await asyncio.gather(*(send_many(user, room, share) for user in users))
    await check_room(users[0], room, [ids for ids, _ in sent])
    expected = {event_id for ids, _ in sent for event_id in ids}
    await bench.rest()
    requests, seconds, before = 0, 0.0, bench.server.spent()
    for _ in range(bench.sizes.history_repeats):
        walk = await users[0].history(room, PAGE)
        seconds += walk.seconds
        requests += walk.requests
        seen = [event["event_id"] for event in walk.events if event["type"] == "m.room.message"]
        check(len(seen) == len(expected) and set(seen) == expected, "wrong pages")
    return {"requests_per_s": requests / seconds, **bench.server.spent().each_ms(before, requests)}
