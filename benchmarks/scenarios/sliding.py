"""Sliding sync of large accounts: what a phone asks for when it starts, scrolls and waits."""

import asyncio
import time

from benchmarks.bench import Bench
from benchmarks.client import Json, Metrics, User, check, each, latency

PATH = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
SHOWN = 20  # rooms on the screen
STEP = 100  # rooms by which the window grows
ROOM_STATE = [
    ["m.room.name", ""],
    ["m.room.encryption", ""],
    ["m.room.member", "$LAZY"],
    ["m.room.member", "$ME"],
]
EXTENSIONS = ("to_device", "e2ee", "account_data", "receipts", "typing")
WIDTH = 4
TIMEOUT_MS = 30_000


class Phone:
    """A client with a connection of its own, and a window from the top of the list."""

    def __init__(
        self, user: User, conn_id: str, rooms: int = SHOWN, state: list[list[str]] = ROOM_STATE
    ) -> None:
        self.user = user
        self.conn_id = conn_id
        self.rooms = rooms
        self.state = state
        self.pos = ""
        self._to_device = ""

    async def sync(self, timeout_ms: int = 0) -> Json:
        return (await self.timed(timeout_ms))[0]

    async def timed(self, timeout_ms: int = 0) -> tuple[Json, float]:
        """The answer, and the seconds that the server took."""
        extensions: dict[str, Json] = {name: {"enabled": True} for name in EXTENSIONS}
        if self._to_device:
            extensions["to_device"]["since"] = self._to_device
        window = {"ranges": [[0, self.rooms - 1]], "timeline_limit": 1, "required_state": self.state}
        body = {"conn_id": self.conn_id, "lists": {"all": window}, "extensions": extensions}
        query = {"pos": self.pos} if self.pos else {}
        answer, seconds = await self.user.timed("POST", PATH, body, timeout=timeout_ms, **query)
        self.pos = answer["pos"]
        self._to_device = answer["extensions"]["to_device"]["next_batch"]
        return answer, seconds


async def sliding_sync(bench: Bench) -> Metrics:
    """An account of 500 rooms: the first 20, deliveries while all are in the window, scrolling, all state of all."""
    user, count = await bench.register(), bench.sizes.sliding_rooms
    rooms = await each(lambda _: user.create_room(), range(count), WIDTH)
    return await _measure(bench, user, rooms)


async def sliding_large(bench: Bench) -> Metrics:
    """The same of an account of 5,000 rooms, by a server that has just started. Synapse's are copies in its database."""
    user, count = await bench.register(), bench.sizes.sliding_large_rooms
    rooms = await _many_rooms(bench, user, count)
    await asyncio.to_thread(bench.server.restart)
    return await _measure(bench, user, rooms)


async def _many_rooms(bench: Bench, user: User, count: int) -> list[str]:
    if bench.server.copy_room is None:
        return await each(lambda _: user.create_room(), range(count), WIDTH)
    room = await user.create_room()
    await bench.rest()  # what the server does with a new room later on is copied, too
    return [room, *await asyncio.to_thread(bench.server.copy_room, room, count - 1)]


async def _measure(bench: Bench, user: User, rooms: list[str]) -> Metrics:
    """`user` is in these rooms only."""
    friend, count = await bench.register(), len(rooms)
    for room in rooms[:SHOWN]:
        await friend.join(room)
    await bench.rest()
    first = await _first(user, bench.sizes.sliding_repeats)
    phone = Phone(user, "scrolling")
    scroll_s = await _scroll(phone, count)
    times, sends = await _deliveries(phone, friend, rooms[:SHOWN], bench.sizes.sliding_messages)
    full_s = await _full(user, set(rooms))
    rise = await _memory(bench, user, count)
    return {
        **latency(first, "first_"),
        **latency(times),
        "send_p50_ms": latency(sends)["p50_ms"],
        "scroll_s": scroll_s,
        "full_s": full_s,
        **rise,
    }


async def _first(user: User, repeats: int) -> list[float]:
    times = []
    for number in range(repeats):
        answer, seconds = await Phone(user, f"first {number}").timed()
        times.append(seconds)
        check(len(answer["rooms"]) == SHOWN, f"{len(answer['rooms'])} rooms in the first answer")
    return times


async def _scroll(phone: Phone, count: int) -> float:
    """Seconds until the window has grown to all rooms, and each was told once."""
    answer, whole = await phone.timed()
    seen = list(answer["rooms"])
    while phone.rooms < count:
        phone.rooms = min(count, phone.rooms + STEP)
        answer, seconds = await phone.timed()
        seen += answer["rooms"]
        whole += seconds
    check(len(seen) == len(set(seen)) == count, f"{len(seen)} rooms told, of {count}")
    return whole


async def _deliveries(
    phone: Phone, friend: User, rooms: list[str], messages: int
) -> tuple[list[float], list[float]]:
    """From the start of a send to its arrival, while the phone waits with all rooms in its window, and to its answer."""
    times, sends = [], []
    await phone.sync()
    for number in range(messages):
        room = rooms[number % len(rooms)]
        waiting = asyncio.ensure_future(_arrival(phone, room))
        await asyncio.sleep(0.05)  # the long poll has begun
        start = time.perf_counter()
        sent, seconds = await friend.send(room, f"message {number}")
        event_id, arrived = await waiting
        times.append(arrived - start)
        sends.append(seconds)
        check(event_id == sent, "another message arrived")
    return times, sends


async def _arrival(phone: Phone, room: str) -> tuple[str, float]:
    while True:
        shown = (await phone.sync(TIMEOUT_MS))["rooms"].get(room, {})
        for event in reversed(shown.get("timeline", ())):
            if event["type"] == "m.room.message":
                return event["event_id"], time.perf_counter()


async def _full(user: User, rooms: set[str]) -> float:
    """Seconds for all the state of all rooms in one answer."""
    answer, seconds = await Phone(user, "full", len(rooms), [["*", "*"]]).timed()
    check(answer["rooms"].keys() == rooms, "not exactly the user's rooms")
    check(all(room["required_state"] for room in answer["rooms"].values()), "a room without state")
    return seconds


async def _memory(bench: Bench, user: User, count: int) -> Metrics:
    """What the processes hold for one more connection that knows all rooms."""
    connections = bench.sizes.sliding_connections
    before = sum(bench.server.memory_mb().values())
    for number in range(connections):
        phone = Phone(user, f"held {number}", count)
        await phone.sync()
        await phone.sync()
    rise = sum(bench.server.memory_mb().values()) - before
    return {"connection_mb": max(0.0, rise) / connections}
