"""A server that speaks to us can be reached again, probably."""

import logging
from collections.abc import Callable

from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database
from synapse_lite.storage.destinations import try_again

logger = logging.getLogger(__name__)

QUIET_SECONDS = 5.0
"""A busy server is looked up so often only."""
MAX_REMEMBERED = 10_000  # servers


class HeardServers:
    """`wake` is called when there may be something to send to a server that was left alone."""

    def __init__(self, database: Database, clock: Clock, wake: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake
        self._looked_at: Cache[str, float] = Cache(MAX_REMEMBERED)

    def heard_from(self, server_name: str) -> None:
        now = self._clock.monotonic()
        before = self._looked_at.get(server_name)
        if before is None or now >= before + QUIET_SECONDS:
            self._looked_at.put(server_name, now)
            Deferred.fromCoroutine(self._look(server_name))

    async def _look(self, server_name: str) -> None:
        try:
            if await self._database.transact(try_again, server_name, self._clock.now_ms()):
                self._wake()
        except Exception:
            logger.exception("%s is tried again when its time has come", server_name)
