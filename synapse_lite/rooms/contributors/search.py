"""What is redacted is found no more, from the same commit on."""

from synapse_lite.rooms.values import Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.search import forget_events


def forget_redacted(txn: Transaction, written: Written) -> None:
    forget_events(txn, {stored.nid for stored in written.redacted.values()})
