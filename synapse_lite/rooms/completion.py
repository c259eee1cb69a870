"""Events of which only a redacted copy was known, once they come whole (synapse#16765).

A copy was judged as it is. So only what the rules of the room do not look at is taken over: the content of an event by
which others are judged, or which was allowed for it, stays that of the copy.
"""

from collections.abc import Sequence
from functools import partial

from attrs import frozen

from synapse_lite.matrix.event import Event, StateKey, completes
from synapse_lite.matrix.types import (
    CREATE,
    JOIN_RULES,
    MEMBER,
    POWER_LEVELS,
    REDACTION,
    THIRD_PARTY_INVITE,
)
from synapse_lite.rooms.batch import record_deltas
from synapse_lite.rooms.contributors.relations import write_relations
from synapse_lite.rooms.values import Contributor, StateDelta, Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.heads import lock_heads
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import Kind

_DECIDING = frozenset({CREATE, REDACTION, POWER_LEVELS, JOIN_RULES, THIRD_PARTY_INVITE})
_DECIDING_OF_MEMBERS = frozenset({"third_party_invite", "join_authorised_via_users_server"})


def is_missed(event: Event, stored: StoredEvent) -> bool:
    """Whether what is stored lacks content that the event has, and may have it."""
    if event.type in _DECIDING or (event.type == MEMBER and _DECIDING_OF_MEMBERS & event.content.keys()):
        return False
    return completes(event, stored.event)


@frozen
class Completion:
    """`contributors` write what the content of state events says of their room."""

    events: EventStore
    state: StateStore
    contributors: Sequence[Contributor]

    def complete(self, txn: Transaction, copy: StoredEvent, event: Event) -> StoredEvent:
        """The event as stored from now on: whole, unless it is redacted. Nothing is done twice."""
        if not lock_heads(txn, [copy.room_nid], even_closed=False):
            return copy
        stored = self.events.complete(txn, copy.event_id, event)
        if stored is None:
            return copy
        write_relations(txn, Written([stored], {}, {}, {}))
        key = event.key if event.is_state else None
        if key is not None and stored.nid in self.state.current(txn, [(stored.room_nid, key)]).values():
            self._tell(txn, key, stored, copy)
        return stored

    def _tell(self, txn: Transaction, key: StateKey, stored: StoredEvent, copy: StoredEvent) -> None:
        """What is in force says more than it did. To clients it is new: by its id they could not see a change."""
        room_nid = stored.room_nid
        for contribute in self.contributors:
            contribute(txn, Written([], {}, {}, {room_nid: [StateDelta(key, stored, copy, stored)]}))
        kind, state_key = key
        txn.publish(
            Kind.STATE,
            room_nid=room_nid,
            user_id=state_key if kind == MEMBER else None,
            at_position=partial(record_deltas, [StateDelta(key, stored, None, stored)]),
        )
