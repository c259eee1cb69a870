"""What an admin asks for and a background task does."""

import asyncio
import time
from collections.abc import Iterable
from functools import partial
from statistics import median
from urllib.parse import quote

from benchmarks.bench import HISTORY_PAGE, Bench, send_many
from benchmarks.candidate import SINGLE, WORKERS
from benchmarks.client import (
    ADMIN,
    POLL_S,
    Metrics,
    MissingFeatureError,
    User,
    check,
    each,
    latency,
    percentile,
    until_done,
)

ROOMS = 5
IDLE_SENDS = 400
REPEATS = 3  # of what varies much: medians


async def redact(bench: Bench) -> Metrics:
    """An admin redacts the 1000 messages that a user wrote in 5 rooms."""
    return await redact_one(bench, banned=False)


async def redact_banned(bench: Bench) -> Metrics:
    """The same after the user was banned from the rooms."""
    return await redact_one(bench, banned=True)


async def redact_one(bench: Bench, banned: bool) -> Metrics:
    spammer, owners = await bench.register(), await bench.users(ROOMS)
    rooms = await each(lambda owner: bench.room_with(owner, [spammer]), owners)
    share = bench.sizes.redact_messages // ROOMS
    await asyncio.gather(*(send_many(spammer, room, share) for room in rooms))
    if banned:
        for owner, room in zip(owners, rooms, strict=True):
            await owner.ban(room, spammer)
    written = share * ROOMS
    return {"redactions_per_s": await timed_redactions(bench, owners, rooms, [spammer], written)}


async def redact_many(bench: Bench) -> Metrics:
    """Ten users' redactions at once, in the same rooms, with one worker and with two; then with workers of one
    step at a time.
    """
    server = bench.server
    if not {*WORKERS, *SINGLE} <= server.workers.keys():
        raise MissingFeatureError
    metrics: Metrics = {}
    try:
        for title, crew in (("", WORKERS), ("single_", SINGLE)):
            rates: dict[int, list[float]] = {1: [], 2: []}
            for count in (1, 2) * REPEATS:
                await asyncio.to_thread(server.run_workers, crew[:count])
                rates[count].append(await redact_crowd(bench))
            one, two = median(rates[1]), median(rates[2])
            metrics[f"{title}one_worker_redactions_per_s"] = one
            metrics[f"{title}two_workers_redactions_per_s"] = two
            metrics[f"{title}two_workers_gain"] = two / one
    finally:
        await asyncio.to_thread(server.run_workers, server.usual)
    return metrics


async def redact_crowd(bench: Bench) -> float:
    """A wave of spammers in some rooms, all redacted at once: redactions per second."""
    owners, share = await bench.users(ROOMS), bench.sizes.many_messages // ROOMS
    spammers = await bench.register_many(bench.sizes.many_users)
    rooms = [await bench.room_with(owner, spammers) for owner in owners]
    where = [(user, room) for room in rooms for user in spammers]
    await asyncio.gather(*(send_many(user, room, share) for user, room in where))
    return await timed_redactions(bench, owners, rooms, spammers, share * len(where))


async def redact_spammers(bench: Bench) -> Metrics:
    """A wave of 50 spammers (Synapse: 5, one request for each) with 200 messages each in 20 rooms, while others write there.

    A server that takes no wave in one request needs minutes for 50 spammers: so it gets a tenth of them, and rates are compared.
    `p99_rise`: of somebody who writes into these rooms, one after the other.
    """
    sizes = bench.sizes
    owners, admin = await bench.users(sizes.wave_rooms), await bench.admin()
    takes_waves = (await admin.request("POST", f"{ADMIN}/v1/redact", {}))[0] != 404
    spammers = await bench.register_many(sizes.wave_users if takes_waves else sizes.few_wave_users)
    rooms = await each(lambda owner: bench.room_with(owner, spammers), owners)
    share = sizes.wave_messages // sizes.wave_rooms
    await each(lambda place: send_many(*place, share), [(user, room) for room in rooms for user in spammers])
    written = share * len(rooms) * len(spammers)
    readable = await count_readable(owners, rooms, spammers)
    check(readable == written, f"{readable} of {written} messages readable before")
    places = list(zip(owners, rooms, strict=True))
    before = [await timed_send(*places[number % len(places)]) for number in range(IDLE_SENDS)]
    during: list[float] = []
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        redact_all = redact_wave if takes_waves else redact_one_by_one
        wave = group.create_task(redact_all(admin, spammers, sizes.limit_s))
        while not wave.done():
            during.append(await timed_send(*places[len(during) % len(places)]))
    seconds = time.perf_counter() - start
    left = await count_readable(owners, rooms, spammers)
    check(left == 0, f"{left} of {written} messages can still be read")
    return {
        "redactions_per_s": written / seconds,
        **latency(before, "before_"),
        **latency(during, "during_"),
        "p99_rise": percentile(during, 0.99) / percentile(before, 0.99),
    }


async def redact_wave(admin: User, spammers: list[User], limit_s: float) -> None:
    """One request for all; returns when all are redacted."""
    body = {"rooms": [], "users": [user.user_id for user in spammers]}
    task_id = (await admin.call("POST", f"{ADMIN}/v1/redact", body))["task_id"]

    async def ended() -> bool:
        task = await admin.call("GET", f"{ADMIN}/v1/scheduled_tasks/{task_id}")
        if task["status"] in {"scheduled", "active"}:
            return False
        check(task["result"]["complete"] == len(spammers), f"redaction: {task}")
        return True

    await until_done(ended, limit_s, shortest_s=0.1)


async def redact_one_by_one(admin: User, spammers: list[User], limit_s: float) -> None:
    for user in spammers:
        path = f"{ADMIN}/v1/user/{quote(user.user_id)}/redact"
        redact_id = str((await admin.call("POST", path, {"rooms": []}))["redact_id"])
        await until_done(partial(redacted, admin, redact_id), limit_s, shortest_s=0.1)


async def timed_send(user: User, room: str) -> float:
    return (await user.send(room, "meanwhile"))[1]


async def timed_redactions(
    bench: Bench, owners: list[User], rooms: list[str], spammers: list[User], written: int
) -> float:
    """Redact the spammers; the messages per second, from the first request to the last `complete`.

    Before, the rooms' owners can read all that was `written`; after, nothing.
    """
    admin = await bench.admin()
    readable = await count_readable(owners, rooms, spammers)
    check(readable == written, f"{readable} of {written} messages readable before")
    await bench.rest()

    async def begin(user: User) -> str:
        path = f"{ADMIN}/v1/user/{quote(user.user_id)}/redact"
        return str((await admin.call("POST", path, {"rooms": []}))["redact_id"])

    start = time.perf_counter()
    # One is asked for at a time, and seldom if there are many: polling takes a share of the processor.
    pause_s = POLL_S if len(spammers) == 1 else 0.1
    for redact_id in await asyncio.gather(*map(begin, spammers)):
        await until_done(partial(redacted, admin, redact_id), bench.sizes.limit_s, shortest_s=pause_s)
    seconds = time.perf_counter() - start
    left = await count_readable(owners, rooms, spammers)
    check(left == 0, f"{left} of {written} messages can still be read")
    return written / seconds


async def redacted(admin: User, redact_id: str) -> bool:
    status = await admin.call("GET", f"{ADMIN}/v1/user/redact_status/{redact_id}")
    if status["status"] in {"scheduled", "active"}:
        return False
    check(status["status"] == "complete" and not status["failed_redactions"], f"redaction: {status}")
    return True


async def count_readable(owners: list[User], rooms: list[str], authors: Iterable[User]) -> int:
    """The authors' messages whose content the rooms' owners can read."""
    names = {author.user_id for author in authors}

    async def count(owner: User, room: str) -> int:
        events = (await owner.history(room, HISTORY_PAGE)).events
        return sum(
            event["type"] == "m.room.message"
            and event["sender"] in names
            and bool(event["content"].get("body"))
            for event in events
        )

    return sum([await count(owner, room) for owner, room in zip(owners, rooms, strict=True)])
