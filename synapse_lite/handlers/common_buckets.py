"""Rate limits that hold for all processes together."""

import logging
from collections.abc import Awaitable, Hashable
from typing import TypeVar

from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.http.ratelimit import Pour, RateLimiter
from synapse_lite.ids import random_text
from synapse_lite.storage import rate_limits
from synapse_lite.storage.database import Database

logger = logging.getLogger(__name__)

T = TypeVar("T")

POST_SECONDS = 1.0
BEAT_SECONDS = 5.0
LIFETIME_SECONDS = 20.0
MAX_POSTED = 1000  # buckets in a transaction


class DatabaseBuckets:
    """Buckets in the database. A process that is alone there writes nothing but that it is there.

    A database that does not answer limits nobody: then each process counts for itself.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._process = random_text(16)
        self._processes = 1
        self._to_post: dict[tuple[RateLimiter, Hashable], None] = {}
        self._posting: DelayedCall | None = None
        self._beating: DelayedCall | None = None
        self._stopped = False

    @property
    def processes(self) -> int:
        return self._processes

    async def start(self) -> None:
        await self._beat()

    async def stop(self) -> None:
        self._stopped = True
        for call in (self._posting, self._beating):
            if call is not None and call.active():
                call.cancel()
        await self._post()
        await self._try(self._database.transact(rate_limits.leave, self._process))

    def post(self, limiter: RateLimiter, key: Hashable) -> None:
        self._to_post[limiter, key] = None
        if self._posting is None and not self._stopped:
            self._posting = self._clock.call_later(POST_SECONDS, self._on_post)

    async def take(self, pour: Pour, cost_ms: float) -> tuple[bool, float] | None:
        return await self._try(
            self._database.transact(rate_limits.take, pour.key, pour.amount_ms, pour.most_ms, cost_ms)
        )

    def _on_post(self) -> None:
        self._posting = None
        Deferred.fromCoroutine(self._post())

    async def _post(self) -> None:
        while self._to_post:
            posted = list(self._to_post)[:MAX_POSTED]
            pours = {}
            for limiter, key in posted:
                del self._to_post[limiter, key]
                pours[limiter, key] = limiter.take_unposted(key)
            rows = [(pour.key, pour.amount_ms, pour.most_ms) for pour in pours.values()]
            levels = await self._try(self._database.transact(rate_limits.pour, rows))
            for (limiter, key), pour in pours.items():
                if levels is not None:
                    limiter.learn(key, levels[pour.key], pour.most_ms)

    async def _beat(self) -> None:
        count = await self._try(self._database.transact(rate_limits.beat, self._process, LIFETIME_SECONDS))
        self._processes = count or self._processes
        if not self._stopped:
            self._beating = self._clock.call_later(BEAT_SECONDS, self._on_beat)

    def _on_beat(self) -> None:
        Deferred.fromCoroutine(self._beat())

    async def _try(self, doing: Awaitable[T]) -> T | None:
        """None when the database does not answer."""
        try:
            return await doing
        except Exception as error:  # noqa: BLE001 (limits stop no request)
            logger.warning("rate limits are not shared: %s", error)
            return None
