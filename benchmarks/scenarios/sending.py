"""Accounts, sends and joins."""

import asyncio
import time
from urllib.parse import quote

from benchmarks.bench import Bench, check_room, send_many
from benchmarks.client import CLIENT, PASSWORD, Metrics, User, check, each, latency

SENDERS = 16
LOGIN_WIDTH = 4


async def register_login(bench: Bench) -> Metrics:
    """Shared-secret registrations, then password logins, four at a time."""
    anonymous, count = User(bench.http), bench.sizes.registrations
    start = time.perf_counter()
    users = await bench.register_many(count)
    registered = time.perf_counter()

    async def login(user: User) -> User:
        identifier = {"type": "m.id.user", "user": user.name}
        body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        answer = await anonymous.call("POST", f"{CLIENT}/login", body)
        return User(bench.http, user.name, answer["user_id"], answer["access_token"])

    sessions = await each(login, users, LOGIN_WIDTH)
    logged_in = time.perf_counter()
    for user, session in zip(users, sessions, strict=True):
        answer = await session.call("GET", f"{CLIENT}/account/whoami")
        check(answer["user_id"] == user.user_id, "the token is somebody else's")
    return {
        "registrations_per_s": count / (registered - start),
        "logins_per_s": count / (logged_in - registered),
    }


async def send_seq(bench: Bench) -> Metrics:
    """One user in one room sends one message after the other."""
    users = await bench.users(1)
    return await send_concurrently(bench, users, [await users[0].create_room()], bench.sizes.seq_sends)


async def send_rooms(bench: Bench) -> Metrics:
    """16 users send at once, each in a room of its own."""
    users = await bench.users(SENDERS)
    rooms = await each(lambda user: user.create_room(), users)
    return await send_concurrently(bench, users, rooms, bench.sizes.rooms_sends)


async def send_shared(bench: Bench) -> Metrics:
    """16 users send at once in one room."""
    users = await bench.users(SENDERS)
    room = await bench.room_with(users[0], users[1:])
    return await send_concurrently(bench, users, [room] * SENDERS, bench.sizes.shared_sends)


async def big_room(bench: Bench) -> Metrics:
    """300 users join one room, eight at a time; then its owner sends."""
    owner, *members = await bench.users(bench.sizes.big_members + 1)
    room = await owner.create_room()
    start = time.perf_counter()
    await each(lambda user: user.join(room), members)
    joins_per_s = len(members) / (time.perf_counter() - start)
    answer = await owner.call("GET", f"{CLIENT}/rooms/{quote(room)}/joined_members")
    check(answer["joined"].keys() == {u.user_id for u in (owner, *members)}, "wrong member list")
    sends = await send_concurrently(bench, [owner], [room], bench.sizes.big_sends)
    return {"joins_per_s": joins_per_s, **sends}


async def send_concurrently(bench: Bench, users: list[User], rooms: list[str], total: int) -> Metrics:
    """Every user sends its share, in its own room of `rooms`, all at once."""
    share = total // len(users)
    before = bench.server.spent()
    start = time.perf_counter()
    sent = await asyncio.gather(
        *(send_many(user, room, share) for user, room in zip(users, rooms, strict=True))
    )
    seconds = time.perf_counter() - start
    spent = bench.server.spent()
    for room in set(rooms):
        ids = [ids for (ids, _), where in zip(sent, rooms, strict=True) if where == room]
        await check_room(users[rooms.index(room)], room, ids)
    times = [each_time for _, user_times in sent for each_time in user_times]
    return {"sends_per_s": len(times) / seconds, **latency(times), **spent.each_ms(before, len(times))}
