"""The index of /search: a follower that takes in what is said, and takes out what is redacted or rejected."""

from collections.abc import Sequence

from synapse_lite.matrix.words import normalised, tokens
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.search import (
    KEYS,
    SearchRow,
    forget_events,
    hold_searchable,
    index_events,
    positions_of,
)
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.tasks.followers import FollowerSpec, Shard

MAX_TEXT = 65_536  # characters: normalised, some become many

SEARCH = FollowerSpec(
    name="search",
    kinds=frozenset({Kind.EVENT, Kind.REDACTED, Kind.AMENDED}),
    batch=500,
    pause_seconds=0.2,
    delay_seconds=0.05,
)


class SearchIndex:
    """The follower `SEARCH`."""

    def __init__(self, events: EventStore) -> None:
        self._events = events

    def follow(self, txn: Transaction, changes: Sequence[Change], _shard: Shard) -> None:
        positions = {change.event_nid: change.position for change in changes if change.event_nid is not None}
        amended = [int(change.key) for change in changes if change.kind is Kind.AMENDED and change.key]
        if amended:
            self._events.on_changes(changes)
            forget_events(txn, amended)
            positions |= positions_of(txn, amended)
        events = self._events.load(txn, hold_searchable(txn, positions))
        rows = (_row(stored, positions[stored.nid]) for stored in events.values())
        index_events(txn, [row for row in rows if row is not None])
        # The commit of a redaction takes out what it sees; what came in beside it, goes here.
        forget_events(txn, {change.redacts_nid for change in changes if change.redacts_nid is not None})


def _row(stored: StoredEvent, position: int) -> SearchRow | None:
    key = KEYS[stored.event.type]
    text = stored.event.content.get(key.removeprefix("content."))
    if not isinstance(text, str):
        return None
    body = normalised(text.replace("\0", " "))[:MAX_TEXT]
    found = tokens(body)
    if not found:
        return None
    return SearchRow(stored.nid, stored.room_nid, position, stored.event.sender, key, body, found)
