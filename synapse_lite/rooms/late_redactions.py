"""Redactions that came before what they redact."""

from collections.abc import Mapping

from attrs import frozen

from synapse_lite.matrix.auth_rules import may_redact
from synapse_lite.rooms.judge import needs_of
from synapse_lite.rooms.resolution import StateAt, StateResolver
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.redactions import (
    NewRedaction,
    insert_redactions,
    link_redactions,
    waiting_redactions,
)
from synapse_lite.storage.relations import delete_relations


@frozen
class LateRedactions:
    events: EventStore
    resolver: StateResolver

    def link(self, txn: Transaction, target: StoredEvent) -> None:
        """The redactions that waited for the event, which is written, empty it now, if they were allowed to where they hang."""
        nids = waiting_redactions(txn, target.room_nid, target.event_id)
        if not nids:
            return
        applying = [
            redaction.nid
            for redaction in self.events.load(txn, nids).values()
            if self.applies(txn, redaction, state_after(redaction), target)
        ]
        link_redactions(txn, nids, target.nid, applying)
        if applying:
            delete_relations(txn, [target.nid])

    def wait(self, txn: Transaction, redaction: StoredEvent, known: Mapping[str, StoredEvent]) -> None:
        """It empties nothing yet, and may do so when its target comes. Another event waits for nothing."""
        redacts = redaction.event.redacts
        if redacts is not None:
            target = known.get(redacts)
            nid = target.nid if target else None
            row = NewRedaction(redaction.nid, redaction.room_nid, redacts, nid, applied=False)
            insert_redactions(txn, [row])

    def applies(self, txn: Transaction, redaction: StoredEvent, state: StateAt, target: StoredEvent) -> bool:
        """Whether the redaction empties the target, by that state."""
        event = redaction.event
        nids = self.resolver.some(txn, state, needs_of(event))
        stored = self.events.load(txn, list(nids.values()))
        return may_redact(
            event, target.event, {key: stored[nid].event for key, nid in nids.items() if nid in stored}
        )


def state_after(stored: StoredEvent) -> StateAt:
    """By the graph, of an event whose state is known."""
    nid = stored.after_nid if stored.point_nid is None else stored.point_nid
    return StateAt(nid or 0)
