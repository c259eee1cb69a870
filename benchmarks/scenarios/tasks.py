"""What an admin asks for and a background task does."""

import asyncio
import time
from collections.abc import Iterable
from functools import partial
from urllib.parse import quote

from benchmarks.bench import HISTORY_PAGE, Bench, check_room, send_many
from benchmarks.client import (
    ADMIN,
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
WRITERS = 8
IDLE_SENDS = 100
SAMPLE = 20  # purged events to ask for


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
    """Ten users' redactions at once, 500 messages each, with one worker and with two."""
    server = bench.server
    if len(server.workers) < 2:
        raise MissingFeatureError
    rates = []
    try:
        for workers in (1, 2):
            await asyncio.to_thread(server.run_workers, workers)
            rates.append(await redact_crowd(bench))
    finally:
        server.run_workers(server.least_workers)
    one, two = rates
    return {
        "one_worker_redactions_per_s": one,
        "two_workers_redactions_per_s": two,
        "two_workers_gain": two / one,
    }


async def redact_crowd(bench: Bench) -> float:
    """Spammers dealt out over the rooms, all redacted at once: redactions per second."""
    owners, share = await bench.users(ROOMS), bench.sizes.many_messages
    spammers = await bench.register_many(bench.sizes.many_users)
    crowds = [spammers[number::ROOMS] for number in range(min(ROOMS, len(spammers)))]
    owners = owners[: len(crowds)]
    rooms = [await bench.room_with(owner, crowd) for owner, crowd in zip(owners, crowds, strict=True)]
    where = [(user, room) for room, crowd in zip(rooms, crowds, strict=True) for user in crowd]
    await asyncio.gather(*(send_many(user, room, share) for user, room in where))
    return await timed_redactions(bench, owners, rooms, spammers, share * len(spammers))


async def timed_redactions(
    bench: Bench, owners: list[User], rooms: list[str], spammers: list[User], written: int
) -> float:
    """Redact the spammers; the messages per second, from the first request to the last `complete`.

    Before, the rooms' owners can read all that was `written`; after, nothing.
    """
    admin = await bench.admin()
    readable = await count_readable(owners, rooms, spammers)
    check(readable == written, f"{readable} of {written} messages readable before")

    async def redact_user(user: User) -> None:
        path = f"{ADMIN}/v1/user/{quote(user.user_id)}/redact"
        answer = await admin.call("POST", path, {"rooms": []})
        await until_done(partial(redacted, admin, answer["redact_id"]), bench.sizes.limit_s)

    start = time.perf_counter()
    await asyncio.gather(*map(redact_user, spammers))
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
        events, _ = await owner.history(room, HISTORY_PAGE)
        return sum(
            event["type"] == "m.room.message"
            and event["sender"] in names
            and bool(event["content"].get("body"))
            for event in events
        )

    return sum([await count(owner, room) for owner, room in zip(owners, rooms, strict=True)])


async def purge_room(bench: Bench) -> Metrics:
    """Delete and purge a room of 3000 messages while somebody writes in another room."""
    admin = await bench.admin()
    await check_deletes_rooms(bench, admin)
    *members, bystander = await bench.users(WRITERS + 1)
    room, other = await bench.room_with(members[0], members[1:]), await bystander.create_room()
    share = bench.sizes.purge_events // len(members)
    sent = await asyncio.gather(*(send_many(member, room, share) for member in members))
    await check_room(members[0], room, [ids for ids, _ in sent])
    ids, before = await send_many(bystander, other, IDLE_SENDS)

    during = []
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        purging = group.create_task(purge(admin, room, bench.sizes.limit_s))
        while not purging.done():
            event_id, seconds = await bystander.send(other, "meanwhile")
            ids.append(event_id)
            during.append(seconds)
    seconds = purging.result() - start

    status, answer = await admin.request("GET", f"{ADMIN}/v1/rooms/{quote(room)}")
    check(status == 404, f"the room is still there: {status} {answer}")
    for event_id in sent[0][0][:SAMPLE]:
        status, answer = await members[0].event(room, event_id)
        check(status in {403, 404}, f"a purged event can be read: {status} {answer}")
    await check_room(bystander, other, [ids])
    return {
        "events_per_s": bench.sizes.purge_events / seconds,
        **latency(before, "before_"),
        **latency(during, "during_"),
        "p99_rise": percentile(during, 0.99) / percentile(before, 0.99),
    }


async def check_deletes_rooms(bench: Bench, admin: User) -> None:
    """Raises `MissingFeatureError` when the server does not know how to delete a room."""
    room = await (await bench.users(1))[0].create_room()
    status, answer = await admin.request("DELETE", f"{ADMIN}/v2/rooms/{quote(room)}", {"purge": True})
    if status != 200 and answer.get("errcode") == "M_UNRECOGNIZED":
        raise MissingFeatureError
    check(status == 200, f"deleting a room: {status} {answer}")


async def purge(admin: User, room: str, limit_s: float) -> float:
    """Purge the room; when that was done, by `time.perf_counter`."""
    answer = await admin.call("DELETE", f"{ADMIN}/v2/rooms/{quote(room)}", {"purge": True})

    async def gone() -> bool:
        path = f"{ADMIN}/v2/rooms/delete_status/{answer['delete_id']}"
        status = await admin.call("GET", path)
        check(status["status"] != "failed", f"purge: {status}")
        return bool(status["status"] == "complete")

    await until_done(gone, limit_s)
    return time.perf_counter()
