"""The current state of rooms. How it changed is in `state_deltas`, which the stream's positions need."""

from attrs import frozen

from synapse_lite.rooms.values import Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.state import StateStore


@frozen
class CurrentStateContributor:
    state: StateStore

    def __call__(self, txn: Transaction, written: Written) -> None:
        for room_nid, changed in written.changed():
            self.state.set_current(txn, room_nid, {key: one.nid for key, one in changed.items() if one})
            self.state.unset_current(txn, room_nid, [key for key, one in changed.items() if one is None])
