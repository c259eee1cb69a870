"""What people see of a room before they are in it: invited, or at its door (client-server API, "Stripped state")."""

from collections.abc import Collection, Iterable
from typing import Self

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.config.rooms import RoomOptions
from synapse_lite.matrix.auth_rules.state import CREATE
from synapse_lite.matrix.event import Event, redacted, stripped_state
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.state import StateKey, StateStore

USUAL: tuple[StateKey, ...] = (
    CREATE,
    ("m.room.name", ""),
    ("m.room.avatar", ""),
    ("m.room.topic", ""),
    ("m.room.join_rules", ""),
    ("m.room.canonical_alias", ""),
    ("m.room.encryption", ""),
)
MAX_OF_TYPES = 100
"""Events of a room that are shown for their type, whatever their key."""


@frozen
class PrejoinState:
    """Shows the events of these keys, and those of these `types` with any key. Runs in database threads."""

    events: EventStore
    state: StateStore
    keys: Collection[StateKey] = USUAL
    types: Collection[str] = ()

    @classmethod
    def build(cls, events: EventStore, state: StateStore, options: RoomOptions) -> Self:
        wanted = options.room_prejoin_state
        more = wanted.additional_event_types
        usual = () if wanted.disable_default_event_types else USUAL
        keys = dict.fromkeys([*usual, *((kind, key) for kind, key in more if key is not None)])
        return cls(events, state, list(keys), [kind for kind, key in more if key is None])

    def read(
        self, txn: Transaction, room_nids: Collection[int], more: Collection[tuple[int, StateKey]] = ()
    ) -> dict[int, list[JsonObject]]:
        """Stripped state by room nid; `more`: pairs of a room nid and a key that are shown, too."""
        events = self._events(txn, room_nids, self.keys, more)
        return {nid: [stripped_state(event) for event in shown] for nid, shown in events.items()}

    def pdus(self, txn: Transaction, room_nid: int, more: Collection[StateKey] = ()) -> list[JsonObject]:
        """The same of one room for another server: whole events, the create event always among them (MSC4311)."""
        keys = dict.fromkeys([CREATE, *self.keys, *more])
        return [event.pdu for event in self._events(txn, [room_nid], keys, ())[room_nid]]

    def _events(
        self,
        txn: Transaction,
        room_nids: Collection[int],
        keys: Iterable[StateKey],
        more: Collection[tuple[int, StateKey]],
    ) -> dict[int, list[Event]]:
        if not room_nids:
            return {}
        nids = self.state.current(txn, [*((nid, key) for key in keys for nid in room_nids), *more])
        of_types = self.state.current_of_types(txn, room_nids, self.types, MAX_OF_TYPES) if self.types else ()
        found: dict[int, list[Event]] = {nid: [] for nid in room_nids}
        for view in self.events.views(txn, list(dict.fromkeys([*nids.values(), *of_types]))):
            event = redacted(view.stored.event) if view.redaction else view.stored.event
            found[view.stored.room_nid].append(event)
        return found
