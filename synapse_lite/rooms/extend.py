"""An event becomes the end of its room: the same for those that are built here and those that came."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.matrix.event import Event
from synapse_lite.rooms.batch import Batch
from synapse_lite.rooms.build import applies
from synapse_lite.rooms.heads import Head
from synapse_lite.rooms.values import StateDelta
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import NewEvent, StoredEvent
from synapse_lite.storage.nids import NidSequence
from synapse_lite.storage.state import StateKey, StateStore

KeyNids = dict[StateKey, int]


@frozen
class Extender:
    state: StateStore
    nids: NidSequence

    def extend(
        self, txn: Transaction, batch: Batch, key_nids: KeyNids, head: Head, event: Event,
        auth_events: Sequence[StoredEvent], client: tuple[str | None, str | None] = (None, None),
    ) -> StoredEvent:  # fmt: skip
        """Put the event at the head, and both into the batch. `client` are session and transaction id of who sent it.

        `key_nids` are those of its key, if it has any; what is new is added.
        """
        nid, before, replaced = self.nids.next(txn), head.snapshot_nid, None
        if event.is_state:
            replaced = head.state.get(event.key)
            if event.key not in key_nids:
                key_nids[event.key] = self.state.number_key(txn, event.key)
            head.snapshot_nid = self.state.derive(txn, head.room.nid, before, {key_nids[event.key]: nid})
        stored = StoredEvent(
            nid, head.room.nid, event, before, head.snapshot_nid, replaced.nid if replaced else None,
            None, *client,
        )  # fmt: skip
        redact(batch, head, stored)
        if event.is_state:
            batch.deltas[nid] = [StateDelta(event.key, stored, replaced, stored)]
        head.advance(stored)
        batch.moved[head.room.nid] = head
        batch.new.append(NewEvent(stored, [auth.nid for auth in auth_events]))
        return stored


def redact(batch: Batch, head: Head, stored: StoredEvent) -> None:
    """Note what the event, the next one of the head, empties."""
    target = batch.targets.get(stored.event.redacts) if stored.event.redacts else None
    if target and target.room_nid == stored.room_nid and applies(head, stored.event, target):
        batch.redacted[stored.nid] = target
