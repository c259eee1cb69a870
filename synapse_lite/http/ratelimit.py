"""Rate limits: one leaky bucket per key, in memory."""

import math
from collections.abc import Hashable
from typing import Protocol

from synapse_lite.clock import Clock
from synapse_lite.errors import limit_exceeded

MAX_KEYS = 100_000
MAX_RETRY_AFTER_MS = 24 * 3600 * 1000
_SLOWEST_PER_SECOND = 1e-6  # stands for 0, which would never drain
_ROUNDING_MS = 1e-3


class RateLimit(Protocol):
    @property
    def per_second(self) -> float: ...

    @property
    def burst_count(self) -> float: ...


class RateLimiter:
    """A bucket holds `burst_count` and drains at `per_second`; what does not fit is refused.

    A bucket is stored as the time (ms) at which it will be empty, so an empty one need not be stored.
    Beyond `max_keys` the bucket that was used longest ago is forgotten.
    """

    def __init__(self, clock: Clock, limit: RateLimit, max_keys: int = MAX_KEYS) -> None:
        self._clock = clock
        self._limit = limit
        self._max_keys = max_keys
        self._empty_at: dict[Hashable, float] = {}

    def check(
        self, key: Hashable, cost: float = 1, *, limit: RateLimit | None = None, spend: bool = True
    ) -> None:
        """Pour `cost` into the bucket of `key`; 429 `M_LIMIT_EXCEEDED` when it does not fit.

        `limit` replaces the usual limit (an override for one user). `spend=False` only asks, for
        limits on failures, which are known afterwards.
        """
        limit = limit or self._limit
        now = self._clock.now_ms()
        ms_per_unit = 1000 / max(limit.per_second, _SLOWEST_PER_SECOND)
        empty_at = max(self._empty_at.get(key, now), now) + cost * ms_per_unit
        wait_ms = empty_at - now - limit.burst_count * ms_per_unit
        if wait_ms > _ROUNDING_MS:
            raise limit_exceeded(min(math.ceil(wait_ms), MAX_RETRY_AFTER_MS))
        if spend:
            self._store(key, empty_at, now)

    def _store(self, key: Hashable, empty_at: float, now: int) -> None:
        self._empty_at.pop(key, None)
        self._empty_at[key] = empty_at
        # Two are looked at for each one added, so that the dictionary shrinks.
        for _ in range(2):
            oldest = next(iter(self._empty_at), None)
            if oldest is None or (self._empty_at[oldest] > now and len(self._empty_at) <= self._max_keys):
                return
            del self._empty_at[oldest]
