"""What lists of rooms show of a room, kept while its state changes."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.ids import domain_of
from synapse_lite.matrix.event import Event, StateKey, redacted
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.values import StateDelta, Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.room_summary import add_to_summary
from synapse_lite.storage.state import StateStore

_Values = dict[str, object]


def _text(name: str) -> Callable[[JsonObject], object]:
    def read(content: JsonObject) -> str | None:
        value = content.get(name)
        return value.replace("\0", "") if isinstance(value, str) else None  # PostgreSQL's text cannot hold it

    return read


_FIELDS: Mapping[str, Mapping[str, Callable[[JsonObject], object]]] = {
    "m.room.create": {
        "room_type": _text("type"),
        "federates": lambda content: content.get("m.federate") is not False,
    },
    "m.room.name": {"name": _text("name")},
    "m.room.topic": {"topic": _text("topic")},
    "m.room.avatar": {"avatar_url": _text("url")},
    "m.room.canonical_alias": {"canonical_alias": _text("alias")},
    "m.room.join_rules": {"join_rule": _text("join_rule")},
    "m.room.history_visibility": {"history_visibility": _text("history_visibility")},
    "m.room.guest_access": {"guest_access": _text("guest_access")},
    "m.room.encryption": {"encryption": _text("algorithm")},
}


@frozen
class RoomSummaryContributor:
    """`server_name` is ours: its members are counted apart, too."""

    state: StateStore
    server_name: str

    def __call__(self, txn: Transaction, written: Written) -> None:
        said: dict[int, _Values] = {}
        for room_nid, changed in written.changed():
            for key, stored in changed.items():
                said.setdefault(room_nid, {}).update(_said(key, stored.event.content if stored else {}))
        for room_nid, values in _taken_back(txn, self.state, written.redacted.values()).items():
            said.setdefault(room_nid, {}).update(values)
        for room_nid in said.keys() | written.deltas.keys():
            counts = self._count(written.deltas.get(room_nid, ()))
            add_to_summary(txn, room_nid, counts, said.get(room_nid, {}))

    def _count(self, deltas: Iterable[StateDelta]) -> dict[str, int]:
        counts: dict[str, int] = {}

        def add(name: str, number: int) -> None:
            counts[name] = counts.get(name, 0) + number

        for delta in deltas:
            add("state_events", (delta.event is not None) - (delta.previous is not None))
            kind, user_id = delta.key
            if kind != MEMBER:
                continue
            for stored, number in ((delta.event, 1), (delta.previous, -1)):
                membership = stored.event.membership if stored else None
                if membership == "join":
                    add("joined", number)
                    add("joined_local", number * (domain_of(user_id) == self.server_name))
                elif membership == "invite":
                    add("invited", number)
        return {name: number for name, number in counts.items() if number}


def take_back(txn: Transaction, state: StateStore, targets: Iterable[StoredEvent]) -> None:
    """Of rooms whose current state was redacted, without an event of theirs that says so."""
    for room_nid, values in _taken_back(txn, state, targets).items():
        add_to_summary(txn, room_nid, {}, values)


def give_back(txn: Transaction, state: StateStore, target: StoredEvent) -> None:
    """Of a room, if its current state is redacted no more."""
    for room_nid, values in _told(txn, state, [target], lambda event: event).items():
        add_to_summary(txn, room_nid, {}, values)


def _taken_back(txn: Transaction, state: StateStore, targets: Iterable[StoredEvent]) -> dict[int, _Values]:
    """By room nid what redacted events say no longer, of those that are the room's current ones."""
    return _told(txn, state, targets, redacted)


def _told(
    txn: Transaction, state: StateStore, events: Iterable[StoredEvent], as_shown: Callable[[Event], Event]
) -> dict[int, _Values]:
    shown = [one for one in events if one.event.is_state and one.event.type in _FIELDS]
    current = state.current(txn, {(one.room_nid, one.event.key) for one in shown}) if shown else {}
    values: dict[int, _Values] = {}
    for one in shown:
        if current.get((one.room_nid, one.event.key)) == one.nid:
            values.setdefault(one.room_nid, {}).update(_said(one.event.key, as_shown(one.event).content))
    return values


def _said(key: StateKey, content: JsonObject) -> _Values:
    kind, state_key = key
    fields: Mapping[str, Any] = _FIELDS.get(kind, {}) if state_key == "" else {}
    return {column: read(content) for column, read in fields.items()}
