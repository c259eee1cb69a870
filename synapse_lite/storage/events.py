"""Events as stored: found by id, and kept in memory, since an event never changes.

What may change about an event, its redaction, is looked up at each reading.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from sys import getsizeof

import orjson
from attrs import frozen

from synapse_lite.canonical_json import decode_object
from synapse_lite.errors import not_found
from synapse_lite.matrix.event import Event, client_event, redacted
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Row, Transaction
from synapse_lite.storage.nids import nid_array


@frozen(eq=False)
class StoredEvent:
    """An event with its place in the room.

    `before_nid` and `after_nid` are snapshots of the room's state around it, `replaces_nid` the
    state event whose place it took. `session` and `txn_id` tell the client that sent it so.
    """

    nid: int
    room_nid: int
    event: Event
    before_nid: int
    after_nid: int
    replaces_nid: int | None = None
    session: str | None = None
    txn_id: str | None = None

    @cached_property
    def client_json(self) -> bytes:
        """The client format without `unsigned`, encoded once for all readers."""
        # orjson does not give back what it reserved, 4 KiB at least: what is kept is a copy of the right size.
        return bytes(memoryview(orjson.dumps(client_event(self.event))))


@frozen(eq=False)
class View:
    """An event as it may be read now: its redaction, and the state event that it replaced."""

    stored: StoredEvent
    redaction: StoredEvent | None = None
    previous: Event | None = None


# Sub-selects, because they are read from an index also where a table has no statistics yet.
_SELECT = (
    "SELECT e.event_nid, e.room_nid, e.event_id, e.json, e.before_nid, e.after_nid, e.replaces_nid,"
    " t.session, t.txn_id, (SELECT version FROM rooms r WHERE r.room_nid = e.room_nid)"
    " FROM events e LEFT JOIN LATERAL ("
    "  SELECT session, txn_id FROM event_transactions WHERE event_nid = e.event_nid LIMIT 1) AS t ON TRUE"
)


class EventStore:
    """Reads events, through a cache of at most `cache_bytes`."""

    def __init__(self, cache_bytes: int) -> None:
        self._cache: Cache[int, StoredEvent] = Cache(cache_bytes)

    def remember(self, stored: StoredEvent, json: str) -> None:
        """Put an event into the cache; `json` is what is stored of it."""
        self._cache.put(stored.nid, stored, _size_in_memory(json))

    def cached(self, nids: Iterable[int]) -> dict[int, StoredEvent]:
        """Those of the events that are in memory: no I/O."""
        return self._cache.find(nids)

    def load(self, txn: Transaction, nids: Collection[int]) -> dict[int, StoredEvent]:
        """The events by nid; a nid that is not stored is absent."""
        found = self._cache.find(nids)
        missing = [nid for nid in nids if nid not in found]
        if missing:
            rows = txn.rows(f"{_SELECT} WHERE e.event_nid = ANY(%s::bigint[])", (nid_array(missing),))
            for row in rows:
                stored = self._read(row)
                found[stored.nid] = stored
        return found

    def by_ids(self, txn: Transaction, event_ids: Collection[str]) -> dict[str, StoredEvent]:
        """The events by event id; an unknown id is absent."""
        rows = txn.rows("SELECT event_nid FROM events WHERE event_id = ANY(%s)", (list(event_ids),))
        return {stored.event.event_id: stored for stored in self.load(txn, [nid for (nid,) in rows]).values()}

    def in_room(self, txn: Transaction, room_id: str, event_id: str) -> StoredEvent:
        """The event of that room; 404 `M_NOT_FOUND` else."""
        stored = self.by_ids(txn, [event_id]).get(event_id)
        if stored is None or stored.event.room_id != room_id:
            raise not_found("Event not found.")
        return stored

    def redactions(self, txn: Transaction, nids: Collection[int]) -> dict[int, StoredEvent]:
        """The redaction that applies to each of the events: target nid to redaction."""
        if not nids:
            return {}
        rows = txn.rows(
            "SELECT target_nid, event_nid FROM redactions WHERE applied AND target_nid = ANY(%s::bigint[])"
            " ORDER BY event_nid DESC",
            (nid_array(nids),),
        )
        first: dict[int, int] = dict(rows)  # where several apply, the first one of them
        redactions = self.load(txn, list(first.values())) if first else {}
        return {target: redactions[redaction] for target, redaction in first.items()}

    def views(self, txn: Transaction, nids: Sequence[int]) -> list[View]:
        """The events in the order of their nids, those that are not stored left out."""
        events = self.load(txn, nids)
        replaced = [stored.replaces_nid for stored in events.values() if stored.replaces_nid is not None]
        previous = self.load(txn, replaced) if replaced else {}
        redactions = self.redactions(txn, [*events, *previous])
        return [view(events[nid], previous, redactions) for nid in nids if nid in events]

    def views_of_each(self, txn: Transaction, *groups: Sequence[int]) -> list[list[View]]:
        """As `views`, for several lists of nids together: no more statements than for one."""
        nids = dict.fromkeys(nid for group in groups for nid in group)
        found = {view.stored.nid: view for view in self.views(txn, list(nids))}
        return [[found[nid] for nid in group if nid in found] for group in groups]

    def _read(self, row: Row) -> StoredEvent:
        nid, room_nid, event_id, json, before_nid, after_nid, replaces_nid, session, txn_id, version = row
        event = Event.from_pdu(decode_object(json), ROOM_VERSIONS[version], event_id)
        stored = StoredEvent(nid, room_nid, event, before_nid, after_nid, replaces_nid, session, txn_id)
        self.remember(stored, json)
        return stored


def _size_in_memory(json: str) -> int:
    """About how many bytes an event takes with its `client_json`, by what its JSON is made of.

    Many small values take far more than their text: an empty object is 2 bytes there and 64 here.
    """
    values = 40 * json.count(",") + 130 * json.count("{") + 60 * json.count("[")
    return 700 + 2 * getsizeof(json) + values


def view(
    stored: StoredEvent, previous: Mapping[int, StoredEvent], redactions: Mapping[int, StoredEvent]
) -> View:
    """`previous` holds the replaced state events by nid, `redactions` the redactions by target nid."""
    replaced = previous.get(stored.replaces_nid) if stored.replaces_nid is not None else None
    return View(
        stored,
        redactions.get(stored.nid),
        None
        if replaced is None
        else redacted(replaced.event)
        if replaced.nid in redactions
        else replaced.event,
    )
