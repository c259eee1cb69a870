"""Who is in which room, as the current state says it."""

from attrs import frozen

from synapse_lite.matrix.types import MEMBER, OUT
from synapse_lite.rooms.values import Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.memberships import delete_memberships, upsert_memberships
from synapse_lite.storage.rooms import Membership


@frozen
class MembershipsContributor:
    """`forget_on_leave`: leaving a room forgets it."""

    forget_on_leave: bool

    def __call__(self, txn: Transaction, written: Written) -> None:
        rows, gone = [], []
        for room_nid, changed in written.changed():
            for (kind, user_id), stored in changed.items():
                if kind != MEMBER:
                    continue
                membership = stored.event.membership if stored else None
                if stored is None or membership is None:
                    gone.append((room_nid, user_id))
                    continue
                forgotten = self.forget_on_leave and membership in OUT
                rows.append(
                    Membership(room_nid, user_id, membership, stored.event.sender, stored.nid, forgotten)
                )
        upsert_memberships(txn, rows)
        delete_memberships(txn, gone)
