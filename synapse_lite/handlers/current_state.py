"""What a room's current state says, for handlers that decide by it."""

import logging
from collections.abc import Collection

from attrs import frozen

from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.matrix.auth_rules.state import CREATE, POWER_LEVELS
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.power_levels import PowerLevels
from synapse_lite.matrix.visibility import HISTORY_VISIBILITY
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.state import StateKey, StateStore

logger = logging.getLogger(__name__)


@frozen
class CurrentState:
    events: EventStore
    state: StateStore

    def read(self, txn: Transaction, room_nid: int, keys: Collection[StateKey]) -> dict[StateKey, Event]:
        """The current events of some keys; what is not set is absent. 500 where one of them is lost: by what is not known nobody
        decides.
        """
        found, lost = self._load(txn, room_nid, keys)
        for kind, _ in lost:
            raise MatrixError(500, Errcode.UNKNOWN, f"This server has lost the {kind} event of the room")
        return found

    def one(self, txn: Transaction, room_nid: int, key: StateKey) -> Event | None:
        """As `read`; None when it is not set."""
        return self.read(txn, room_nid, [key]).get(key)

    def is_world_readable(self, txn: Transaction, room_nid: int) -> bool:
        """Whether anybody may read the room, in it or not."""
        visibility = self.one(txn, room_nid, HISTORY_VISIBILITY)
        return visibility is not None and visibility.content.get("history_visibility") == "world_readable"

    def read_known(
        self, txn: Transaction, room_nid: int, keys: Collection[StateKey]
    ) -> dict[StateKey, Event]:
        """As `read`; what is lost is as if it were not set, which must not stop what goes on without it."""
        found, lost = self._load(txn, room_nid, keys)
        for kind, _ in lost:
            logger.error("the %s event of room %d is lost", kind, room_nid)
        return found

    def _load(
        self, txn: Transaction, room_nid: int, keys: Collection[StateKey]
    ) -> tuple[dict[StateKey, Event], list[StateKey]]:
        """The events, and the keys of those that are lost."""
        nids = self.state.current(txn, [(room_nid, key) for key in keys])
        stored = self.events.load(txn, list(nids.values()))
        found = {key: stored[nid].event for (_, key), nid in nids.items() if nid in stored}
        return found, [key for _, key in nids if key not in found]

    def power_levels(self, txn: Transaction, room_nid: int) -> PowerLevels:
        """404 `M_NOT_FOUND` for a room that is gone."""
        found = self.read(txn, room_nid, [CREATE, POWER_LEVELS])
        if CREATE not in found:
            raise not_found("Unknown room")
        return PowerLevels.read(found[CREATE], found.get(POWER_LEVELS))
