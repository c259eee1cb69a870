"""Small writes of many clients, and sends beside a room that somebody else holds."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import quote

import psycopg2

from benchmarks.bench import Bench, check_room, send_many
from benchmarks.client import CLIENT, Metrics, User, check, latency, percentile
from benchmarks.server import Server

READERS = 16
HELD_S = 0.2  # as long as the step of a task
PAUSE_S = 0.01

_HOLD = "SELECT FROM rooms WHERE room_id = %s FOR NO KEY UPDATE"


async def receipts(bench: Bench) -> Metrics:
    """16 users read one room, message by message, and say so."""
    readers = await bench.users(READERS)
    before = (await readers[0].sync())["next_batch"]
    room = await bench.room_with(readers[0], readers[1:])
    share = bench.sizes.receipts // READERS
    ids, _ = await send_many(readers[0], room, share)

    async def read(reader: User) -> list[float]:
        times = []
        for event_id in ids:
            path = f"{CLIENT}/rooms/{quote(room)}/receipt/m.read/{quote(event_id)}"
            start = time.perf_counter()
            await reader.call("POST", path, {})
            times.append(time.perf_counter() - start)
        return times

    start = time.perf_counter()
    times = [seconds for some in await asyncio.gather(*map(read, readers)) for seconds in some]
    rate = len(times) / (time.perf_counter() - start)
    joined = (await readers[0].sync(before))["rooms"]["join"][room]
    (last,) = [event["content"] for event in joined["ephemeral"]["events"] if event["type"] == "m.receipt"]
    check(last.keys() == {ids[-1]}, "a receipt went back, or was lost")
    check(len(last[ids[-1]]["m.read"]) == READERS, "somebody's receipt is missing")
    return {"receipts_per_s": rate, **latency(times)}


async def send_beside_busy(bench: Bench) -> Metrics:
    """One user sends in a room, while another room is held for 200 ms at a time and somebody writes there too."""
    sender, other = await bench.users(2)
    free, busy = await sender.create_room(), await other.create_room()
    ids, idle = await send_many(sender, free, bench.sizes.seq_sends)
    beside, busy_ids = [], []
    with held(bench.server, busy):
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(_send_until_cancelled(other, busy, busy_ids))
            for _ in range(bench.sizes.seq_sends):
                event_id, seconds = await sender.send(free, "beside")
                ids.append(event_id)
                beside.append(seconds)
            writing.cancel()
    await check_room(sender, free, [ids])
    check(bool(busy_ids), "nothing could be written to the busy room")
    rise = percentile(beside, 0.5) / percentile(idle, 0.5)
    return {**latency(idle, "idle_"), **latency(beside, "beside_"), "p50_rise": rise}


async def _send_until_cancelled(user: User, room: str, ids: list[str]) -> None:
    while True:
        event_id, _ = await user.send(room, "waits")
        ids.append(event_id)


@contextmanager
def held(server: Server, room: str) -> Iterator[None]:
    """The row of the room is locked again and again, with pauses in which others may write."""
    ended = threading.Event()

    def hold() -> None:
        with closing(psycopg2.connect(**server.connection_arguments())) as connection:
            while not ended.wait(PAUSE_S):
                with connection, connection.cursor() as cursor:
                    cursor.execute(_HOLD, (room,))
                    ended.wait(HELD_S)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
