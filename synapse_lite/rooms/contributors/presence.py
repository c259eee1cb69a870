"""Who comes into a room sees who is there, and those there see them."""

from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.values import StateDelta, Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.presence import announce


def announce_joined(txn: Transaction, written: Written) -> None:
    announce(
        txn,
        {delta.key[1] for deltas in written.deltas.values() for delta in deltas if _is_join(delta)},
    )


def _is_join(delta: StateDelta) -> bool:
    if delta.key[0] != MEMBER or delta.event is None or delta.event.event.membership != "join":
        return False
    return delta.previous is None or delta.previous.event.membership != "join"
