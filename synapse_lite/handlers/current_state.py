"""What a room's current state says, for handlers that decide by it."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.power_levels import PowerLevels
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.state import StateKey, StateStore

CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")


@frozen
class CurrentState:
    events: EventStore
    state: StateStore

    def read(self, txn: Transaction, room_nid: int, keys: Collection[StateKey]) -> dict[StateKey, Event]:
        """The current events of some keys; what is not set is absent. 500 where one of them is lost: by what is not known nobody
        decides.
        """
        nids = self.state.current(txn, [(room_nid, key) for key in keys])
        stored = self.events.load(txn, list(nids.values()))
        for (_, (kind, _)), nid in nids.items():
            if nid not in stored:
                raise MatrixError(500, Errcode.UNKNOWN, f"This server has lost the {kind} event of the room")
        return {key: stored[nid].event for (_, key), nid in nids.items()}

    def power_levels(self, txn: Transaction, room_nid: int) -> PowerLevels:
        """404 `M_NOT_FOUND` for a room that is gone."""
        found = self.read(txn, room_nid, [CREATE, POWER_LEVELS])
        if CREATE not in found:
            raise not_found("Unknown room")
        return PowerLevels.read(found[CREATE], found.get(POWER_LEVELS))
