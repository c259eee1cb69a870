"""Sees that the database was put back to an older one while the process runs.

Numbers of events are given out anew then, and what the process has in memory under them belongs to other events:
it would answer with those, and write what follows from them. So it ends, and begins again with nothing in memory.
"""

import logging
from collections.abc import Callable

from twisted.internet.defer import ensureDeferred

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.storage.database import Database, DatabaseError
from synapse_lite.storage.stream import Lineage, read_lineage

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class LineageWatch:
    """Looks once a second, and calls `end` once: when the position has fallen, or its table is another one."""

    def __init__(self, database: Database, clock: Clock, end: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._end = end
        self._seen: Lineage | None = None
        self._next: DelayedCall | None = None
        self._stopped = False

    async def start(self) -> None:
        """Raises DatabaseError."""
        self._seen = await self._database.read(read_lineage)
        self._look_later()

    def stop(self) -> None:
        self._stopped = True
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _look_later(self) -> None:
        if not self._stopped:
            self._next = self._clock.call_later(LOOK_SECONDS, lambda: ensureDeferred(self._look()))

    async def _look(self) -> None:
        try:
            now = await self._database.read(read_lineage)
        except DatabaseError:  # an outage, of which others tell; or the tables are being made anew
            now = None
        if now is not None:
            if self._seen is not None and not self._seen.leads_to(now):
                logger.critical(
                    "the database was restored under this process (position %d, before %d): it ends, as what it has in"
                    " memory is of the other one; stop all processes before a restore",
                    now.position,
                    self._seen.position,
                )
                self._end()
                return
            self._seen = now
        self._look_later()
