"""What redactions and bans had emptied that are rejected now, after they were accepted (decision 62)."""

from attrs import frozen

from synapse_lite.matrix.relations import relation_of
from synapse_lite.rooms.contributors.room_summary import give_back
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, Standing, StoredEvent
from synapse_lite.storage.redactions import take_back_redactions
from synapse_lite.storage.relations import delete_relations, insert_relations
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import Kind


@frozen
class TakenBackRedactions:
    """In a transaction that holds the lock of the room."""

    events: EventStore
    state: StateStore

    def take_back(self, txn: Transaction, rejected: StoredEvent, limit: int) -> int:
        """Bring back so much of what the event alone had emptied, with what had gone with the content. How many redactions
        were taken back, fewer than `limit` at the end.
        """
        nids = take_back_redactions(txn, rejected.nid, limit)
        emptied = [nid for nid in nids if nid is not None]
        if emptied:
            redacted = self.events.redactions(txn, emptied)
            for target in self.events.load(txn, [nid for nid in emptied if nid not in redacted]).values():
                self._bring_back(txn, target)
        return len(nids)

    def _bring_back(self, txn: Transaction, target: StoredEvent) -> None:
        relation = relation_of(target.event.content)
        if relation is not None and target.standing is not Standing.REJECTED:
            delete_relations(txn, [target.nid])  # it has one where it came after its redaction
            insert_relations(txn, [(target, relation)])
        give_back(txn, self.state, target)
        self.events.forget(target.nid)
        txn.publish(Kind.AMENDED, room_nid=target.room_nid, key=str(target.nid))
