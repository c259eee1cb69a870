"""Rate limits: one leaky bucket per key, in memory, and in common with other processes where there are any."""

import hashlib
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from attrs import define, frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError, limit_exceeded

MAX_KEYS = 100_000
MAX_RETRY_AFTER_MS = 24 * 3600 * 1000
_SLOWEST_PER_SECOND = 1e-6  # stands for 0, which would never drain
_ROUNDING_MS = 1e-3
_KEY_BYTES = 16


class RateLimit(Protocol):
    @property
    def per_second(self) -> float: ...

    @property
    def burst_count(self) -> float: ...


@frozen
class Pour:
    """What a process puts into a common bucket: milliseconds of draining. `most_ms`: what the bucket holds."""

    key: bytes
    amount_ms: float
    most_ms: float


class CommonBuckets(Protocol):
    """The buckets that all processes share."""

    @property
    def processes(self) -> int:
        """How many share them, this one included."""

    def post(self, limiter: "RateLimiter", key: Hashable) -> None:
        """Ask for `RateLimiter.take_unposted` soon, and tell `RateLimiter.learn` what the bucket holds then."""

    async def take(self, pour: Pour, cost_ms: float) -> tuple[bool, float] | None:
        """Pour, then the cost too if it fits: whether it did, and what the bucket holds then, in milliseconds.

        None when nobody can say.
        """


@define
class _Bucket:
    """`empty_at`: monotonic time (ms) at which it will be empty, as far as this process knows.

    `unposted_ms` was poured here, and other processes do not know of it yet. `most_ms` is what it holds.
    """

    empty_at: float
    most_ms: float
    unposted_ms: float = 0


class RateLimiter:
    """A bucket holds `burst_count` and drains at `per_second`; what does not fit is refused.

    With `common` buckets each process decides by itself about a share of a bucket, and tells the others in the
    background; beyond its share it asks. So several processes together let through half a burst more than one,
    at most; one that `is_exact` always asks. An empty bucket is not stored. Beyond `max_keys` the bucket that
    was used longest ago is forgotten.
    """

    def __init__(
        self,
        clock: Clock,
        limit: RateLimit,
        max_keys: int = MAX_KEYS,
        *,
        name: str = "",
        common: CommonBuckets | None = None,
        is_exact: bool = False,
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._max_keys = max_keys
        self._name = name
        self._common = common
        self._is_exact = is_exact
        self._buckets: dict[Hashable, _Bucket] = {}
        self._asking: Counter[Hashable] = Counter()

    async def check(self, key: Hashable, cost: float = 1, *, limit: RateLimit | None = None) -> None:
        """Pour `cost` into the bucket of `key`; 429 `M_LIMIT_EXCEEDED` when it does not fit.

        `limit` replaces the usual limit (an override for one user).
        """
        limit = limit or self._limit
        ms_per_unit = 1000 / max(limit.per_second, _SLOWEST_PER_SECOND)
        cost_ms, most_ms = cost * ms_per_unit, limit.burst_count * ms_per_unit
        now = self._now()
        bucket = self._buckets.get(key) or _Bucket(now, most_ms)
        level_ms = max(bucket.empty_at - now, 0)
        _refuse_beyond(level_ms + cost_ms - most_ms)
        common = self._common
        if common is None or common.processes == 1:
            self._store(key, now + level_ms + cost_ms, most_ms, 0)
            return
        share_ms = 0 if self._is_exact else most_ms / (2 * common.processes)
        if not self._asking[key] and bucket.unposted_ms + cost_ms <= share_ms:
            self._store(key, now + level_ms + cost_ms, most_ms, bucket.unposted_ms + cost_ms)
            common.post(self, key)
            return
        pour = Pour(self._hash(key), bucket.unposted_ms, most_ms)
        bucket.unposted_ms = 0
        fits, level_ms = await self._take(common, key, pour, cost_ms) or (True, level_ms + cost_ms)
        self.learn(key, level_ms, most_ms)
        if not fits:
            _refuse_beyond(level_ms + cost_ms - most_ms)

    async def _take(
        self, common: CommonBuckets, key: Hashable, pour: Pour, cost_ms: float
    ) -> tuple[bool, float] | None:
        """Until the answer is there, whoever comes next asks, too: else each answer would be good for another share."""
        self._asking[key] += 1
        try:
            return await common.take(pour, cost_ms)
        finally:
            self._asking[key] -= 1
            if not self._asking[key]:
                del self._asking[key]

    async def allows(self, key: Hashable) -> bool:
        """As `check`, for what is left undone without a word."""
        try:
            await self.check(key)
        except MatrixError:
            return False
        return True

    def refund(self, key: Hashable, cost: float = 1) -> None:
        """Take back what `check` poured for something that did not count in the end."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return
        amount_ms = cost * 1000 / max(self._limit.per_second, _SLOWEST_PER_SECOND)
        self._store(key, bucket.empty_at - amount_ms, bucket.most_ms, bucket.unposted_ms - amount_ms)
        if self._common is not None and self._common.processes > 1:
            self._common.post(self, key)

    # For the common buckets

    def take_unposted(self, key: Hashable) -> Pour:
        """What others are to be told."""
        bucket = self._buckets.get(key) or _Bucket(0, 0)
        amount_ms, bucket.unposted_ms = bucket.unposted_ms, 0
        return Pour(self._hash(key), amount_ms, bucket.most_ms)

    def learn(self, key: Hashable, level_ms: float, most_ms: float) -> None:
        """All processes together have poured so much into the bucket; what is unposted comes on top."""
        bucket = self._buckets.get(key)
        unposted_ms = bucket.unposted_ms if bucket is not None else 0
        self._store(key, self._now() + level_ms + unposted_ms, most_ms, unposted_ms)

    def _now(self) -> float:
        return self._clock.monotonic() * 1000

    def _hash(self, key: Hashable) -> bytes:
        return hashlib.blake2b(f"{self._name}\0{key!r}".encode(), digest_size=_KEY_BYTES).digest()

    def _store(self, key: Hashable, empty_at: float, most_ms: float, unposted_ms: float) -> None:
        self._buckets.pop(key, None)
        self._buckets[key] = _Bucket(empty_at, most_ms, unposted_ms)
        now = self._now()
        # Two are looked at for each one added, so that the dictionary shrinks.
        for _ in range(2):
            oldest = next(iter(self._buckets), None)
            if oldest is None or (
                self._buckets[oldest].empty_at > now and len(self._buckets) <= self._max_keys
            ):
                return
            del self._buckets[oldest]


async def check_all(pours: Sequence[tuple[RateLimiter, Hashable, float]]) -> None:
    """Check each limiter with its key and cost; when one refuses, none has been poured into."""
    for index, (limiter, key, cost) in enumerate(pours):
        try:
            await limiter.check(key, cost)
        except MatrixError:
            for poured, other, amount in pours[:index]:
                poured.refund(other, amount)
            raise


def network_of(address: str) -> str:
    """Whom a limit by address counts as one: an IPv6 address's /64, as one customer has at least that."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(IPv6Address(int(ip) >> 64 << 64))


def _refuse_beyond(wait_ms: float) -> None:
    if wait_ms > _ROUNDING_MS:
        raise limit_exceeded(min(math.ceil(wait_ms), MAX_RETRY_AFTER_MS))
