"""History that other servers have, fetched when somebody reads on to where it is missing."""

from collections.abc import Coroutine
from enum import Enum
from functools import partial
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.clock import Clock
from synapse_lite.federation.backfill import Backfill
from synapse_lite.handlers.rooms import Rooms
from synapse_lite.http.flights import Flights
from synapse_lite.storage.stream import Place

WAIT_SECONDS = 10.0
"""So long a reader waits. What comes later is there when they ask again."""


class Filled(Enum):
    NOTHING = "nothing is missing"
    SOME = "there is more than before"
    NONE = "something is missing, and was not to be had"


@frozen
class MissingHistory:
    _rooms: Rooms
    _backfill: Backfill
    _clock: Clock
    _flights: Flights[tuple[int, int], bool] = field(factory=Flights)

    async def fill(self, room_id: str, low: Place, high: Place) -> Filled:
        """Fetch what is missing in that stretch of the room's history, the newest first, up to a hundred events or so."""
        room = await self._rooms.find(room_id)
        gaps = [] if room is None else await self._backfill.wanted(room, low, high)
        if room is None or not gaps:
            return Filled.NOTHING
        fill = partial(self._backfill.fill, room, gaps)
        found = await self._in_time(self._flights.join((room.nid, gaps[0].position), fill))
        return Filled.SOME if found else Filled.NONE

    async def _in_time(self, filling: Coroutine[Any, Any, bool]) -> bool:
        """False when it takes too long; it goes on."""
        waiting = Deferred.fromCoroutine(filling)
        deadline = self._clock.call_later(WAIT_SECONDS, waiting.cancel)
        try:
            return await waiting
        except CancelledError:
            if deadline.active():
                raise  # who asked is gone
            return False
        finally:
            if deadline.active():
                deadline.cancel()
