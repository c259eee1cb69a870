"""How many users are active, and who is too many (`limit_usage_by_mau`).

Whoever does anything here counts for 30 days. Where the number is full, others may read, and neither write nor sync.
"""

import logging
from typing import Self

from prometheus_client import CollectorRegistry, Gauge
from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.config.model import Config
from synapse_lite.handlers.requester import OverLimit
from synapse_lite.handlers.threepids import canonical_address
from synapse_lite.storage.active_users import HOUR_MS, ActiveRules, admit, count_active, has_room
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database

logger = logging.getLogger(__name__)

DAY_MS = 24 * HOUR_MS
REMEMBERED_USERS = 100_000
COUNTED_SECONDS = 300.0


class ActiveUsers:
    """`contact`: whom those may ask who are too many. One of a process."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        metrics: CollectorRegistry,
        rules: ActiveRules,
        contact: str | None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._refusal = OverLimit(contact)
        self._admitted: Cache[str, int] = Cache(REMEMBERED_USERS)
        self._timer: DelayedCall | None = None
        self._gauge = Gauge(
            "synapse_lite_active_users",
            "Users of the last 30 days, guests and those on trial left out, as last counted",
            registry=metrics,
        )

    @classmethod
    def of(cls, database: Database, clock: Clock, metrics: CollectorRegistry, config: Config) -> Self | None:
        """None where active users are neither limited nor counted."""
        if not (config.limit_usage_by_mau or config.mau_stats_only):
            return None
        reserved = frozenset(
            (one.medium, canonical_address(one.medium, one.address))
            for one in config.mau_limit_reserved_threepids
        )
        most = config.max_mau_value if config.limit_usage_by_mau else None
        rules = ActiveRules(most, config.mau_trial_days * DAY_MS, reserved)
        return cls(database, clock, metrics, rules, config.admin_contact)

    def start(self) -> None:
        self._count_from_now_on()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def admit(self, user_id: str) -> OverLimit | None:
        """Count the user as active; why they are not served, if they are not."""
        now_ms = self._clock.now_ms()
        if (self._admitted.get(user_id) or 0) > now_ms:
            return None
        if not await self._database.transact(admit, user_id, self._rules, now_ms):
            return self._refusal
        self._admitted.put(user_id, now_ms + HOUR_MS)
        return None

    async def check(self, user_id: str | None = None) -> None:
        """403 `M_RESOURCE_LIMIT_EXCEEDED` for a user who is too many, or where one more would be (None)."""
        if user_id is not None:
            refusal = await self.admit(user_id)
        else:
            refusal = self._refusal if await self.is_full() else None
        if refusal is not None:
            raise refusal.error

    async def is_full(self) -> bool:
        """Whether one more would be one too many."""
        return not await self._database.read(has_room, self._rules, self._clock.now_ms())

    def _count_from_now_on(self) -> None:
        self._timer = self._clock.call_later(COUNTED_SECONDS, self._count_from_now_on)
        Deferred.fromCoroutine(self._count()).addErrback(
            lambda failure: logger.warning("active users are not counted: %s", failure.value)
        )

    async def _count(self) -> None:
        self._gauge.set(await self._database.read(count_active, self._clock.now_ms()))
