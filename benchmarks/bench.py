"""One server on the bench: its users, its rooms, and the run of one scenario."""

import asyncio
import itertools
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

import aiohttp

from benchmarks.client import Account, Metrics, MissingFeatureError, ScenarioError, User, check, each
from benchmarks.device import Device
from benchmarks.http import Http
from benchmarks.server import Server
from benchmarks.sizes import Sizes

REGISTER_WIDTH = 4
REST_SAMPLE_S = 0.5
REST_CORES = 0.06
REST_LIMIT_S = 120.0
HISTORY_PAGE = 500


class Bench:
    """A server with a pool of users that its scenarios share, as registering is slow.

    `beside` are the other servers of the run: none of them may still be at work while this one is timed.
    """

    def __init__(self, server: Server, http: Http, sizes: Sizes, beside: Collection[Server] = ()) -> None:
        self.server = server
        self.http = http
        self.sizes = sizes
        self._beside = beside
        self.account = Account(http, server.secret, f"u{secrets.token_hex(3)}")
        self._numbers = itertools.count()
        self._pool: list[User] = []
        self._admins: list[User] = []
        self._devices: list[Device] = []

    async def register(self, admin: bool = False) -> User:
        return await self.account.register(next(self._numbers), admin)

    async def register_many(self, count: int) -> list[User]:
        return await each(lambda _: self.register(), range(count), REGISTER_WIDTH)

    async def make_many(self, count: int) -> list[User]:
        """Users with a session and without a device or a password: for scenarios that need more than can be registered in time."""
        admin = await self.admin()
        return await each(lambda _: self.account.make(next(self._numbers), admin), range(count))

    async def admin(self) -> User:
        if not self._admins:
            self._admins.append(await self.register(admin=True))
        return self._admins[0]

    async def users(self, count: int) -> list[User]:
        """The first `count` of the pool."""
        self._pool += await self.register_many(max(0, count - len(self._pool)))
        return self._pool[:count]

    async def devices(self, count: int) -> list[Device]:
        """Those of the first `count` users of the pool, with keys."""
        users = await self.users(count)
        self._devices += await each(Device.of, users[len(self._devices) :])
        return self._devices[:count]

    async def rest(self) -> None:
        """Return when all servers have caught up with what was asked of them before: indexes, counts, caches.

        So that a scenario times what it names, and not what is left of its preparation, or of another server's turn.
        Whatever is still busy after two minutes is busy by itself.
        """
        ends = time.monotonic() + REST_LIMIT_S
        while time.monotonic() < ends:
            before = self._spent()
            await asyncio.sleep(REST_SAMPLE_S)
            if self._spent() - before < REST_CORES * REST_SAMPLE_S:
                return

    def _spent(self) -> float:
        servers = sum(server.cpu_seconds() for server in (self.server, *self._beside))
        return servers + self.server.spent().postgres

    async def fill(self, rooms: Mapping[str, User], texts: Sequence[str]) -> None:
        """Each user says all of the texts in their room, the first by a client, the others in the database; then the
        server starts anew.
        """
        await each(lambda room: rooms[room].send(room, texts[0]), rooms)
        await self.rest()  # what the server does with a new message later on is copied, too
        senders = {room: user.user_id for room, user in rooms.items()}
        await asyncio.to_thread(self.server.add_messages, senders, texts[1:])
        await asyncio.to_thread(self.server.restart)
        await self.rest()

    async def room_with(self, owner: User, members: Iterable[User]) -> str:
        room = await owner.create_room()
        await each(lambda user: user.join(room), members)
        return room


async def send_many(user: User, room: str, count: int) -> tuple[list[str], list[float]]:
    """`count` messages one after the other: their event ids, and their latencies in seconds."""
    sent = [await user.send(room, f"message {number}") for number in range(count)]
    return [event_id for event_id, _ in sent], [seconds for _, seconds in sent]


async def check_room(user: User, room: str, lists_of_ids: list[list[str]]) -> None:
    """The room holds exactly these messages, each list in its own order."""
    events = (await user.history(room, HISTORY_PAGE)).events
    stored = [event["event_id"] for event in reversed(events) if event["type"] == "m.room.message"]
    place = {event_id: index for index, event_id in enumerate(stored)}
    sent = {event_id for ids in lists_of_ids for event_id in ids}
    check(len(stored) == len(place), "a message is listed twice")
    check(place.keys() == sent, f"{len(sent)} messages sent, {len(stored)} in the room")
    for ids in lists_of_ids:
        places = [place[event_id] for event_id in ids]
        check(places == sorted(places), "one sender's messages are out of order")


async def run_scenario(bench: Bench, scenario: Callable[[Bench], Awaitable[Metrics]]) -> Metrics:
    """A scenario's figures; `failed` or `not_yet` mark that there are none.

    They include the CPU time that the server's processes spent on the whole scenario, with
    its preparation and its checks: a figure that other load on the machine hardly disturbs.

    Raises RuntimeError when a process of the server has died.
    """
    await bench.rest()
    before = bench.server.cpu_seconds()
    metrics: Metrics = {}
    try:
        async with asyncio.timeout(bench.sizes.limit_s):
            metrics = await scenario(bench)
        metrics["server_cpu_s"] = bench.server.cpu_seconds() - before
    except* MissingFeatureError:
        metrics = {"not_yet": 1}
    except* (ScenarioError, OSError, aiohttp.ClientError) as errors:
        print(f"{scenario.__name__} failed: {first_of(errors)!r}", file=sys.stderr, flush=True)
        metrics = {"failed": 1}
    for process in bench.server.dead():
        raise RuntimeError(f"{bench.server.title}: {process.name} died:\n{process.last_words()}")
    return metrics


def first_of(error: BaseException) -> BaseException:
    """The first plain exception in a tree of groups."""
    return first_of(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
