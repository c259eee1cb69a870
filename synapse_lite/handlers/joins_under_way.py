"""What a room says while somebody of ours joins it through another server: kept, and judged once the room is entered.

The room has the join before its answer is here: a kick, or a message, may be faster, and nobody sends it again.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, frozen

from synapse_lite.clock import Clock
from synapse_lite.federation.staging import TOPIC
from synapse_lite.ids import random_text
from synapse_lite.matrix.event import Event
from synapse_lite.replication.bus import Bus
from synapse_lite.storage import joins_under_way
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.heads import know_room


@define
class Attempt:
    """To join one room."""

    _database: Database
    _clock: Clock
    attempt_id: str
    is_announced: bool = False

    async def announce(self, join: Event) -> None:
        """It is about to be sent: what the room says from now on is kept, by any process."""
        self.is_announced = True
        await self._database.transact(self._announce, join)

    def _announce(self, txn: Transaction, join: Event) -> None:
        txn.relax()
        joins_under_way.put_join(txn, self.attempt_id, join.room_id)
        know_room(txn, join.room_id, join.version, self._clock.now_ms())


@frozen
class JoinsUnderWay:
    _database: Database
    _bus: Bus
    _clock: Clock

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[Attempt]:
        """Afterwards what was kept goes into the room; it is let go where nobody of ours is in it."""
        attempt = Attempt(self._database, self._clock, random_text(12))
        try:
            yield attempt
        finally:
            if attempt.is_announced:
                await self._database.transact(joins_under_way.forget_join, attempt.attempt_id)
                self._bus.publish(TOPIC)
