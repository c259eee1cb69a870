"""What events relate to."""

from synapse_lite.matrix.relations import relation_of
from synapse_lite.rooms.values import Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.relations import delete_relations, insert_relations


def write_relations(txn: Transaction, written: Written) -> None:
    """A redacted event relates to nothing any more. An event that is redacted as it comes never did."""
    gone = {stored.nid for stored in written.redacted.values()}
    related = (
        (stored, relation_of(stored.event.content)) for stored in written.new if stored.nid not in gone
    )
    insert_relations(txn, [(stored, relation) for stored, relation in related if relation is not None])
    delete_relations(txn, gone)
