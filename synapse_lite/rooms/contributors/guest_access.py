"""A room that lets guests in no longer puts those out who are there: by a task, begun in the same transaction."""

from collections.abc import Callable

from attrs import frozen

from synapse_lite.matrix.guest_access import lets_guests_in
from synapse_lite.matrix.types import GUEST_ACCESS
from synapse_lite.rooms.values import StateDelta, Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent


@frozen
class GuestAccessContributor:
    """`put_out` makes sure that the guests go, whatever becomes of this process."""

    put_out: Callable[[Transaction, StoredEvent], None]

    def __call__(self, txn: Transaction, written: Written) -> None:
        for deltas in written.deltas.values():
            for delta in deltas:
                if delta.key == (GUEST_ACCESS, "") and _closes(delta):
                    self.put_out(txn, delta.cause)


def _closes(delta: StateDelta) -> bool:
    before, after = (one.event if one else None for one in (delta.previous, delta.event))
    return lets_guests_in(before) and not lets_guests_in(after)
