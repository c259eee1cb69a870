"""Redactions, by what they redact."""

from synapse_lite.rooms.values import Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.redactions import NewRedaction, insert_redactions


def write_redactions(txn: Transaction, written: Written) -> None:
    rows = []
    for stored in written.new:
        redacts = stored.event.redacts
        if redacts is not None:
            target = written.targets.get(redacts)
            rows.append(
                NewRedaction(
                    stored.nid,
                    stored.room_nid,
                    redacts,
                    target.nid if target else None,
                    applied=stored.nid in written.redacted,
                )
            )
    insert_redactions(txn, rows)
