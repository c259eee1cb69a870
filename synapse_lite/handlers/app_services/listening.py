"""A service that speaks to us listens again, probably: it need not wait until it is tried again."""

import logging

from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock
from synapse_lite.handlers.app_services.deliveries import follower_of
from synapse_lite.matrix.app_service import AppService
from synapse_lite.replication.bus import Bus
from synapse_lite.storage.database import Database
from synapse_lite.storage.tasks import try_follower_again
from synapse_lite.tasks.queue import TOPIC

logger = logging.getLogger(__name__)

QUIET_SECONDS = 5.0
"""A busy service is looked up so often only."""


class HeardServices:
    """Whoever runs the follower of a service that was away hears that it is back."""

    def __init__(self, database: Database, bus: Bus, clock: Clock) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._looked_at: dict[str, float] = {}

    def heard_from(self, service: AppService) -> None:
        now = self._clock.monotonic()
        before = self._looked_at.get(service.id)
        if service.url is not None and (before is None or now >= before + QUIET_SECONDS):
            self._looked_at[service.id] = now
            Deferred.fromCoroutine(self._look(service))

    async def _look(self, service: AppService) -> None:
        try:
            if await self._database.transact(try_follower_again, follower_of(service).name):
                self._bus.publish(TOPIC)
        except Exception:
            logger.exception("%s is tried again when its time has come", service.id)
