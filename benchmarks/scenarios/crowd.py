"""What clients do beside sending: counts, receipts, typing, presence, pushes."""

import asyncio
import math
import secrets
import statistics
import time
from typing import Any
from urllib.parse import quote

from aiohttp import web

from benchmarks.bench import Bench, send_many
from benchmarks.client import (
    CLIENT,
    DELIVERY_LIMIT_S,
    Inbox,
    Json,
    Metrics,
    User,
    check,
    each,
    latency,
    until_done,
)

ROOMS = 2
TYPING_MS = 30_000
PUSHERS_EACH = 10
WATCHED = 20  # users, of whom one follows
ROOM_SIZE = 50
SETTLE_S = 1.0
SPEAKERS = 8


def messages_in(events: list[Json]) -> list[Json]:
    return [event for event in events if event["type"] == "m.room.message"]


class Client(Inbox):
    """Follows its rooms as a phone does: says what it has read, and shows what is unread."""

    def __init__(self, user: User, room: str) -> None:
        super().__init__(user, room)
        self.unread = -1

    async def poll(self, since: str) -> None:
        while True:
            answer = await self.user.sync(since, 30_000)
            now, since = time.perf_counter(), answer["next_batch"]
            joined = answer.get("rooms", {}).get("join", {}).get(self.room, {})
            self.unread = joined.get("unread_notifications", {}).get("notification_count", self.unread)
            timeline = joined.get("timeline", {})
            messages = messages_in(timeline.get("events", []))
            if timeline.get("limited"):
                messages = [*await self._missed(timeline["prev_batch"]), *messages]
                now = time.perf_counter()
            for event in messages:
                self.arrived.setdefault(event["content"]["body"], now)
            if messages:
                self.changed.set()
                path = f"{CLIENT}/rooms/{quote(self.room)}/receipt/m.read/{quote(messages[-1]['event_id'])}"
                await self.user.call("POST", path, {})

    async def _missed(self, before: str) -> list[Json]:
        """What came between two polls and was more than one answer holds, the oldest first."""
        missed: list[Json] = []
        while True:
            query = {"dir": "b", "from": before, "limit": 100}
            page = await self.user.call("GET", f"{CLIENT}/rooms/{quote(self.room)}/messages", **query)
            messages = messages_in(page["chunk"])
            new = [event for event in messages if event["content"]["body"] not in self.arrived]
            missed = [*reversed(new), *missed]
            if len(new) < len(messages) or "end" not in page:
                return missed
            before = page["end"]

    async def say(self, texts: list[str]) -> dict[str, float]:
        """When each was sent; one types before one sends."""
        typing = f"{CLIENT}/rooms/{quote(self.room)}/typing/{quote(self.user.user_id)}"
        starts = {}
        for text in texts:
            await self.user.call("PUT", typing, {"typing": True, "timeout": TYPING_MS})
            starts[text] = time.perf_counter()
            await self.user.send(self.room, text)
        return starts


async def real_clients(bench: Bench) -> Metrics:
    """50 clients in two rooms of 300 members: lazy loading, counts, typing, a receipt for what each poll brings.

    A delivery ends at the last of the clients of the room.
    """
    sizes = bench.sizes
    users = await bench.users(sizes.big_members)
    rooms = [await bench.room_with(users[0], users[1:]) for _ in range(ROOMS)]
    clients = [Client(user, rooms[number % ROOMS]) for number, user in enumerate(users[: sizes.real_clients])]
    await each(lambda client: client.user.make_filter(), clients)
    firsts = await each(lambda client: client.user.sync(), clients)
    async with asyncio.TaskGroup() as group:
        polls = [
            group.create_task(client.poll(first["next_batch"]))
            for client, first in zip(clients, firsts, strict=True)
        ]
        await asyncio.sleep(SETTLE_S)
        texts = [[f"{number}.{n}" for n in range(sizes.client_sends)] for number in range(len(clients))]
        before, own, start = bench.server.spent(), time.process_time(), time.perf_counter()
        begun = await asyncio.gather(*(one.say(some) for one, some in zip(clients, texts, strict=True)))
        seconds = time.perf_counter() - start
        times = []
        for sender, starts in zip(clients, begun, strict=True):
            there = [client for client in clients if client.room == sender.room]
            for text, at in starts.items():
                times.append(max([await client.wait_for(text) for client in there]) - at)

        async def all_read() -> bool:
            return all(client.unread == 0 for client in clients)

        await until_done(all_read, DELIVERY_LIMIT_S)
        cost = bench.server.spent().each_ms(before, len(times))
        cost["clients_cpu_ms"] = (time.process_time() - own) / len(times) * 1000
        for poll in polls:
            poll.cancel()
    return {"sends_per_s": len(times) / seconds, **latency(times), **cost}


async def initial_sync_unread(bench: Bench) -> Metrics:
    """/sync without `since` in 100 rooms of much that is unread; `other_session_rise` as in `initial_sync`."""
    sizes = bench.sizes
    speakers = (await bench.users(SPEAKERS))[:SPEAKERS]
    reader = await bench.register()
    owners = [speakers[number % SPEAKERS] for number in range(sizes.sync_rooms)]
    made = await each(lambda owner: bench.room_with(owner, [reader]), owners)
    rooms = dict(zip(made, owners, strict=True))
    await bench.fill(rooms, [f"message {number}" for number in range(sizes.unread_messages)])
    sessions = [reader, *[await reader.another_session() for _ in range(5)]]
    times, costs = [], []
    for number, session in enumerate(sessions):
        await session.make_filter()
        before, start = bench.server.spent(), time.perf_counter()
        answer = await session.sync(timeout_ms=number)
        times.append(time.perf_counter() - start)
        costs.append(sum(bench.server.spent().each_ms(before, 1).values()))
        for room in rooms:
            shown = answer["rooms"]["join"][room]
            unread = shown["unread_notifications"]["notification_count"]
            check(unread >= sizes.unread_messages, "wrong counts")
            last = shown["timeline"]["events"][-1]["content"]["body"]
            check(last == f"message {sizes.unread_messages - 1}", "not the newest messages")
    return {
        "first_ms": 1000 * times[0],
        "first_cpu_ms": costs[0],
        **latency(times[1:], "other_session_"),
        "other_session_cpu_ms": statistics.median(costs[1:]),
    }


class Gateway:
    """Takes every push, and notes when it came: by event id, one time for each."""

    def __init__(self) -> None:
        self.arrived: dict[str, list[float]] = {}
        self._runner: Any = None

    async def start(self) -> str:
        app = web.Application()
        app.router.add_post("/_matrix/push/v1/notify", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0]
        return f"http://{host}:{port}/_matrix/push/v1/notify"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        event_id = (await request.json())["notification"].get("event_id")
        self.arrived.setdefault(event_id, []).append(time.perf_counter())
        return web.json_response({"rejected": []})


async def pushers(bench: Bench) -> Metrics:
    """1,000 pushers of one room: pushes a second while messages come as fast as one sends, and the delay of a push at rest."""
    sizes = bench.sizes
    sender, *members = await bench.users(sizes.pushers // PUSHERS_EACH + 1)
    room = await bench.room_with(sender, members)
    gateway = Gateway()
    url = await gateway.start()

    async def follow(user: User) -> None:
        for number in range(PUSHERS_EACH):
            body: Json = {
                "app_id": f"app{number}", "pushkey": secrets.token_hex(8), "kind": "http", "app_display_name": "App",
                "device_display_name": "Phone", "lang": "en", "append": True, "data": {"url": url, "format": "event_id_only"},
            }  # fmt: skip
            await user.call("POST", f"{CLIENT}/pushers/set", body)

    count = len(members) * PUSHERS_EACH

    async def arrive(event_id: str) -> list[float]:
        async def is_there() -> bool:
            return len(gateway.arrived.get(event_id, ())) >= count

        await until_done(is_there, DELIVERY_LIMIT_S)
        return gateway.arrived[event_id]

    try:
        await each(follow, members)
        delays: list[float] = []
        for _ in range(sizes.quiet_pushes):
            start = time.perf_counter()
            event_id, _ = await sender.send(room, "news")
            delays += [at - start for at in await arrive(event_id)]
        await bench.rest()
        before, own, start = bench.server.spent_by_all(), time.process_time(), time.perf_counter()
        ids, _ = await send_many(sender, room, sizes.busy_pushes)
        last = max(await arrive(ids[-1]))
        told = sum(len(gateway.arrived.get(event_id, ())) for event_id in ids)
        cost = bench.server.spent_by_all().each_ms(before, told)
        cost["gateway_cpu_ms"] = (time.process_time() - own) / told * 1000
        return {"pushes_per_s": told / (last - start), **latency(delays, "push_"), **cost}
    finally:
        for user in members:
            for one in (await user.call("GET", f"{CLIENT}/pushers"))["pushers"]:
                gone = {"app_id": one["app_id"], "pushkey": one["pushkey"], "kind": None}
                await user.call("POST", f"{CLIENT}/pushers/set", gone)
        await gateway.stop()


async def presence(bench: Bench) -> Metrics:
    """1,000 users in rooms of 50 change what they say of themselves, while one of twenty follows: CPU of a change."""
    sizes = bench.sizes
    watchers = await bench.users(sizes.presence_users // WATCHED)
    others = await bench.make_many(sizes.presence_users - len(watchers))
    users = [*watchers, *others]
    rooms = math.ceil(len(users) / ROOM_SIZE)
    for number in range(rooms):
        owner, *members = users[number::rooms]
        await bench.room_with(owner, members)
    heard: set[str] = set()

    async def watch(user: User, since: str) -> None:
        while True:
            answer = await user.sync(since, 30_000)
            since = answer["next_batch"]
            for event in answer.get("presence", {}).get("events", []):
                if event["content"].get("status_msg"):
                    heard.add(f"{event['sender']} {event['content']['status_msg']}")

    async def change(user: User) -> None:
        for number in range(sizes.presence_changes):
            body = {"presence": "online", "status_msg": f"status {number}"}
            await user.call("PUT", f"{CLIENT}/presence/{quote(user.user_id)}/status", body)

    firsts = await each(lambda user: user.sync(), watchers)
    last = {f"{user.user_id} status {sizes.presence_changes - 1}" for user in users}
    async with asyncio.TaskGroup() as group:
        polls = [
            group.create_task(watch(user, first["next_batch"]))
            for user, first in zip(watchers, firsts, strict=True)
        ]
        await asyncio.sleep(SETTLE_S)
        before, start = bench.server.spent(), time.perf_counter()
        await each(change, users)

        async def all_heard() -> bool:
            return last <= heard

        await until_done(all_heard, DELIVERY_LIMIT_S)
        seconds, after = time.perf_counter() - start, bench.server.spent()
        for poll in polls:
            poll.cancel()
    changes = len(users) * sizes.presence_changes
    cost = after.each_ms(before, changes)
    return {"changes_per_s": changes / seconds, "cpu_ms": sum(cost.values()), **cost}
