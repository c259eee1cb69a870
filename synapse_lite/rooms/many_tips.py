"""Rooms with more ends than an event may follow.

An event of ours follows the deepest of them only. So the state before it is what these lead to, as for every other server; what
the rest says is current, too, but no part of its history.
"""

from collections.abc import Collection, Iterable

from attrs import frozen

from synapse_lite.matrix.event import MAX_PREV_EVENTS, StateKey
from synapse_lite.rooms.batch import Batch
from synapse_lite.rooms.heads import Head
from synapse_lite.rooms.late_redactions import state_after
from synapse_lite.rooms.resolution import StateAt, StateResolver
from synapse_lite.rooms.values import StateDelta
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.state import REMOVED


@frozen
class ManyTips:
    """The methods run in a transaction that holds the lock of the room; `batch` has what it wrote already."""

    events: EventStore
    resolver: StateResolver

    def deepest(self, txn: Transaction, batch: Batch, head: Head, keys: Collection[StateKey]) -> Head:
        """The head of as many ends as an event may follow, with the state that they lead to, of these keys."""
        tips = sorted(head.tips, key=lambda tip: tip.event.depth)[-MAX_PREV_EVENTS:]
        state = self._meet(txn, batch, head, map(state_after, tips))
        nids = self.resolver.some(txn, state, keys)
        known = self._load(txn, batch, nids.values())
        return Head(
            head.room,
            tips,
            head.depth,
            self.resolver.store(txn, head.room.nid, state),
            head.is_blocked,
            head.is_damaged,
            {key: known[nid] for key, nid in nids.items()},
        )

    def rejoin(self, txn: Transaction, batch: Batch, head: Head, deepest: Head) -> None:
        """Let the head go on with what followed the deepest ends, beside the others: the event is the last of the batch."""
        stored = batch.new[-1].stored
        followed = set(stored.event.prev_events)
        others = [tip for tip in head.tips if tip.event_id not in followed]
        state = self._meet(txn, batch, head, [StateAt(deepest.snapshot_nid), *map(state_after, others)])
        changes = self.resolver.difference(txn, head.snapshot_nid, state)
        before = self.resolver.some(txn, StateAt(head.snapshot_nid), list(changes))
        known = self._load(txn, batch, [*changes.values(), *before.values()])
        batch.deltas[stored.nid] = [
            StateDelta(key, known.get(nid), known.get(before.get(key, REMOVED)), stored)
            for key, nid in changes.items()
        ]
        head.tips = [*others, stored]
        head.depth, head.last_nid = deepest.depth, stored.nid
        head.snapshot_nid = self.resolver.store(txn, head.room.nid, state)
        head.state = {key: one for key, one in head.state.items() if key not in changes}
        head.state |= {key: known[nid] for key, nid in changes.items() if nid != REMOVED}
        batch.moved[head.room.nid] = head

    def _meet(self, txn: Transaction, batch: Batch, head: Head, states: Iterable[StateAt]) -> StateAt:
        new = {one.stored.nid: one.stored.event for one in batch.new}
        return self.resolver.resolve(txn, head.room.version, states, new)

    def _load(self, txn: Transaction, batch: Batch, nids: Collection[int]) -> dict[int, StoredEvent]:
        new = {one.stored.nid: one.stored for one in batch.new}
        wanted = [nid for nid in nids if nid not in new and nid != REMOVED]
        return {**self.events.load(txn, wanted), **new}
