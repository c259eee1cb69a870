"""Rooms that an admin deletes, while somebody writes in another room."""

import asyncio
import time
from urllib.parse import quote

import attrs

from benchmarks.bench import Bench, check_room, send_many
from benchmarks.client import (
    ADMIN,
    POLL_S,
    Json,
    Metrics,
    MissingFeatureError,
    User,
    check,
    latency,
    percentile,
    until_done,
)
from benchmarks.processes import busy_process
from benchmarks.watch import settle, watching

WRITERS = 8
IDLE_SENDS = 100
LARGE_IDLE_SENDS = 2000
LARGE_POLL_S = 0.5  # asking costs a sender too
ENOUGH = 100  # sends, so that there is a 99th percentile
SAMPLE = 20  # purged events to ask for


async def purge_room(bench: Bench) -> Metrics:
    """Delete and purge a room of 3000 messages while somebody writes in another room."""
    admin = await bench.admin()
    await check_deletes_rooms(bench, admin)
    return await purge_written(bench, admin)


async def purge_large(bench: Bench) -> Metrics:
    """The same with a room of 1,000,000 events and 20,000 members (Synapse: as before). `busy_`: beside a busy process instead."""
    admin = await bench.admin()
    await check_deletes_rooms(bench, admin)
    if bench.server.seed is None:
        return await purge_written(bench, admin)
    events, members = bench.sizes.large_events, bench.sizes.large_members
    start = time.perf_counter()
    room = await asyncio.to_thread(bench.server.seed, events, members)
    seeded = time.perf_counter() - start
    await asyncio.to_thread(settle, bench.server)
    metrics = await purge_beside(bench, admin, room, events, LARGE_IDLE_SENDS, LARGE_POLL_S)
    with busy_process():
        _, busy = await send_many(*await bystanding(bench), LARGE_IDLE_SENDS)
    return {
        **metrics,
        "busy_p99_rise": 1000 * percentile(busy, 0.99) / metrics["before_p99_ms"],
        "seeded_events_per_s": events / seeded,
    }


async def purge_written(bench: Bench, admin: User) -> Metrics:
    """Purge a room that clients filled; its events cannot be read afterwards."""
    members = await bench.users(WRITERS)
    room = await bench.room_with(members[0], members[1:])
    share = bench.sizes.purge_events // len(members)
    sent = await asyncio.gather(*(send_many(member, room, share) for member in members))
    await check_room(members[0], room, [ids for ids, _ in sent])
    metrics = await purge_beside(bench, admin, room, bench.sizes.purge_events, IDLE_SENDS)
    for event_id in sent[0][0][:SAMPLE]:
        status, answer = await members[0].event(room, event_id)
        check(status in {403, 404}, f"a purged event can be read: {status} {answer}")
    return metrics


async def purge_beside(
    bench: Bench, admin: User, room: str, events: int, idle_sends: int, poll_s: float = POLL_S
) -> Metrics:
    """Purge the room, and measure what a sender in another room notices of it."""
    bystander, other = await bystanding(bench)
    with watching(bench.server):
        ids, before = await send_many(bystander, other, idle_sends)
    during = []
    with watching(bench.server) as watch:
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            purging = group.create_task(purge(admin, room, bench.sizes.limit_s, poll_s))
            while not purging.done():
                event_id, seconds = await bystander.send(other, "meanwhile")
                ids.append(event_id)
                during.append(seconds)
    seconds = purging.result().ended - start

    status, answer = await admin.request("GET", f"{ADMIN}/v1/rooms/{quote(room)}")
    check(status == 404, f"the room is still there: {status} {answer}")
    await check_room(bystander, other, [ids])
    rise = percentile(during, 0.99) / percentile(before, 0.99)
    return {
        "events_per_s": events / seconds,
        **latency(before, "before_"),
        **latency(during, "during_"),
        **({"p99_rise": rise} if len(during) >= ENOUGH else {}),
        "oldest_transaction_s": watch.oldest_transaction_s,
        "memory_growth_mb": watch.most_mb - watch.first_mb,
        **purging.result().figures(),
    }


async def bystanding(bench: Bench) -> tuple[User, str]:
    """Somebody, in a room of their own."""
    *_, user = await bench.users(WRITERS + 1)
    return user, await user.create_room()


async def check_deletes_rooms(bench: Bench, admin: User) -> None:
    """Raises `MissingFeatureError` when the server does not know how to delete a room."""
    room = await (await bench.users(1))[0].create_room()
    status, answer = await admin.request("DELETE", f"{ADMIN}/v2/rooms/{quote(room)}", {"purge": True})
    if status != 200 and answer.get("errcode") == "M_UNRECOGNIZED":
        raise MissingFeatureError
    check(status == 200, f"deleting a room: {status} {answer}")


@attrs.define
class Purge:
    """When it was done, by `time.perf_counter`; and the longest time without a sign of progress."""

    moved: float
    ended: float = 0.0
    progress: Json | None = None
    longest_standstill: float = 0.0

    def see(self, status: Json) -> None:
        progress = status.get("progress")
        if progress is not None and progress != self.progress:
            now = time.perf_counter()
            self.longest_standstill = max(self.longest_standstill, now - self.moved)
            self.progress, self.moved = progress, now

    def figures(self) -> Metrics:
        return {} if self.progress is None else {"longest_standstill_s": self.longest_standstill}


async def purge(admin: User, room: str, limit_s: float, poll_s: float) -> Purge:
    """Purge the room, and follow the task."""
    answer = await admin.call("DELETE", f"{ADMIN}/v2/rooms/{quote(room)}", {"purge": True})
    seen = Purge(time.perf_counter())

    async def gone() -> bool:
        path = f"{ADMIN}/v2/rooms/delete_status/{answer['delete_id']}"
        status = await admin.call("GET", path)
        check(status["status"] != "failed", f"purge: {status}")
        seen.see(status)
        return bool(status["status"] == "complete")

    await until_done(gone, limit_s, shortest_s=poll_s)
    seen.ended = time.perf_counter()
    return seen
