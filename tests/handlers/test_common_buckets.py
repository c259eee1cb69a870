"""Rate limits that several processes have in common."""

from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.clock import ReactorClock
from synapse_lite.config.rate_limits import RateLimit
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.common_buckets import BEAT_SECONDS, POST_SECONDS, DatabaseBuckets
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.storage.database import Database
from tests.http.memory import ManualClock

LIMIT = RateLimit(per_second=0.001, burst_count=10)


@attrs.frozen
class Process:
    clock: ManualClock
    buckets: DatabaseBuckets

    def limiter(self, *, is_exact: bool = False, name: str = "rc") -> RateLimiter:
        return RateLimiter(self.clock, LIMIT, name=name, common=self.buckets, is_exact=is_exact)


class Watched:
    """A database that knows how many transactions are `under_way`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.under_way = 0

    async def transact(self, *arguments: Any) -> Any:
        self.under_way += 1
        try:
            return await self._database.transact(*arguments)
        finally:
            self.under_way -= 1


@attrs.define
class Site:
    database: Watched
    processes: list[Process] = attrs.field(factory=list)

    async def start(self, number: int) -> list[Process]:
        for _ in range(number):
            clock = ManualClock()
            process = Process(clock, DatabaseBuckets(self.database, clock))
            await process.buckets.start()
            self.processes.append(process)
        await self.advance(BEAT_SECONDS)
        return self.processes

    async def advance(self, seconds: float) -> None:
        """Let time pass, and what it started come to its end."""
        for process in self.processes:
            process.clock.advance(seconds)
        while self.database.under_way:
            await ReactorClock(reactor).sleep(0.005)


@pytest_twisted.async_yield_fixture
async def site(database: Database) -> AsyncIterator[Site]:
    site = Site(Watched(database))
    yield site
    for process in site.processes:
        await process.buckets.stop()


async def passed(limiters: list[RateLimiter], times: int) -> int:
    """How many of so many checks for each limiter pass, one after the other."""
    count = 0
    for _ in range(times):
        for limiter in limiters:
            try:
                await limiter.check("k")
                count += 1
            except MatrixError:
                pass
    return count


@ensureDeferred
async def test_three_processes_let_through_little_more_than_one(site: Site) -> None:
    """Thirty requests over three processes meet one bucket of ten, not three."""
    limiters = [process.limiter() for process in await site.start(3)]
    assert 10 <= await passed(limiters, 10) <= 15


@ensureDeferred
async def test_what_comes_at_once_is_no_exception(site: Site) -> None:
    """Thirty requests over three processes, of which none waits for another one."""
    limiters = [process.limiter() for process in await site.start(3)]
    checks = [Deferred.fromCoroutine(passed([one], 1)) for _ in range(10) for one in limiters]
    assert 10 <= sum(await gatherResults(checks)) <= 15


@ensureDeferred
async def test_an_exact_limit_lets_through_no_more(site: Site) -> None:
    """For what guards passwords, also when all come at once."""
    limiters = [process.limiter(is_exact=True) for process in await site.start(3)]
    assert sum(await gatherResults([Deferred.fromCoroutine(passed([one], 10)) for one in limiters])) == 10


@ensureDeferred
async def test_what_one_process_counted_others_learn(site: Site) -> None:
    """In the background, without a statement for each request."""
    first, second = [process.limiter() for process in await site.start(2)]
    assert await passed([first], 2) == 2
    await site.advance(POST_SECONDS)
    assert await passed([second], 10) == 8


@ensureDeferred
async def test_a_refund_reaches_the_others(site: Site) -> None:
    """A guess that was right counts nowhere."""
    first, second = [process.limiter(is_exact=True) for process in await site.start(2)]
    assert await passed([first], 10) == 10
    first.refund("k")
    await site.advance(POST_SECONDS)
    assert await passed([second], 10) == 1


@ensureDeferred
async def test_limits_of_different_names_are_different_buckets(site: Site) -> None:
    """One may be used up and the other not."""
    process, _ = await site.start(2)
    assert await passed([process.limiter(name="a", is_exact=True)], 20) == 10
    assert await passed([process.limiter(name="b", is_exact=True)], 20) == 10


@ensureDeferred
async def test_a_process_alone_asks_nobody(site: Site, database: Database) -> None:
    """Its buckets are its own memory, until another one comes."""
    (process,) = await site.start(1)
    assert await passed([process.limiter(is_exact=True)], 20) == 10
    assert await database.read(lambda txn: txn.value("SELECT count(*) FROM rate_limits")) == 0
    await site.start(1)
    assert process.buckets.processes == 2
    await site.processes.pop().buckets.stop()
    await site.advance(BEAT_SECONDS)
    assert process.buckets.processes == 1


@ensureDeferred
async def test_without_a_database_each_counts_for_itself(site: Site, monkeypatch: Any) -> None:
    """Limits stop no request because the database is away."""
    process, _ = await site.start(2)

    async def away(*_arguments: Any) -> None:
        raise ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(process.buckets._database, "transact", away)
        assert await passed([process.limiter(is_exact=True)], 20) == 10
