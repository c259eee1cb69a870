"""Who is out of a room types there no more."""

from synapse_lite.matrix.types import MEMBER, OUT
from synapse_lite.rooms.values import Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.ephemeral import end_typing


def end_typing_of_departed(txn: Transaction, written: Written) -> None:
    end_typing(
        txn,
        [
            (room_nid, user_id)
            for room_nid, changed in written.changed()
            for (kind, user_id), stored in changed.items()
            if kind == MEMBER and (stored is None or stored.event.membership in OUT)
        ],
    )
