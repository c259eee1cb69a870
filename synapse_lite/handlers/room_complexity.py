"""Rooms of others that are too large for this server (`limit_remote_rooms`).

The complexity of a room is a number that Synapse invented: its state events, in units of 500.
"""

from attrs import frozen

from synapse_lite.config.rooms import RemoteRoomLimit
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.federation.peers import PeerError
from synapse_lite.federation.queries import Queries
from synapse_lite.handlers.remote_rooms import Target
from synapse_lite.handlers.requester import Requester
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.room_summary import RoomSummary, read_summaries
from synapse_lite.storage.rooms import room_by_id

UNIT = 500
MAX_ASKED = 3
"""Who joins waits for the answers."""


def complexity(room: RoomSummary) -> float:
    return round(room.state_events / UNIT, 2)


@frozen
class ComplexityLimit:
    database: Database
    queries: Queries
    options: RemoteRoomLimit

    def concerns(self, requester: Requester) -> bool:
        return self.options.enabled and not (self.options.admins_can_join and requester.is_admin)

    async def check(self, target: Target) -> bool:
        """Before a join: 400 `M_RESOURCE_LIMIT_EXCEEDED` for a room that is too complex. False: none of its servers tells."""
        for server in target.servers[:MAX_ASKED]:
            try:
                told = await self.queries.complexity(server, target.room_id)
            except PeerError:
                continue
            self._check(told)
            return True
        return False

    async def check_entered(self, room_id: str) -> None:
        """The same of a room whose whole state is here."""
        self._check(await self.database.read(_complexity_of, room_id))

    def _check(self, found: float) -> None:
        if found > self.options.complexity:
            raise MatrixError(400, Errcode.RESOURCE_LIMIT_EXCEEDED, self.options.complexity_error)


def _complexity_of(txn: Transaction, room_id: str) -> float:
    room = room_by_id(txn, room_id)
    return 0 if room is None else complexity(read_summaries(txn, [room.nid])[room.nid])
