"""Expired messages: hidden from all readers, before a purge deletes them (MSC1763)."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.matrix.retention import SHORTEST_MS, RetentionPolicy
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.retention import said_by_rooms


@frozen
class Retention:
    """`policy` None: messages are shown for ever."""

    policy: RetentionPolicy | None
    clock: Clock

    def may_hide(self, events: Collection[StoredEvent]) -> bool:
        """Whether `expired` might be some of them; no I/O."""
        return self.policy is not None and any(self._age(stored) > SHORTEST_MS for stored in events)

    def expired(self, txn: Transaction, events: Collection[StoredEvent]) -> set[int]:
        """The nids of those that have expired. State never does."""
        ages = {stored.nid: self._age(stored) for stored in events}
        old = {stored.room_nid for stored in events if ages[stored.nid] > SHORTEST_MS}
        if self.policy is None or not old:
            return set()
        lifetimes = {nid: self.policy.lifetime(said) for nid, said in said_by_rooms(txn, old).items()}
        return {
            stored.nid
            for stored in events
            if (lifetime := lifetimes.get(stored.room_nid)) is not None and ages[stored.nid] > lifetime
        }

    def _age(self, stored: StoredEvent) -> int:
        """In milliseconds; of state 0."""
        return 0 if stored.event.is_state else self.clock.now_ms() - stored.event.origin_server_ts
