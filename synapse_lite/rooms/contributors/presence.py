"""Who comes into a room sees who is there, and those there see them."""

from synapse_lite.rooms.values import Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.presence import announce


def announce_joined(txn: Transaction, written: Written) -> None:
    announce(txn, {delta.key[1] for deltas in written.deltas.values() for delta in deltas if delta.is_join})
