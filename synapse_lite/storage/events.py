"""Events as stored: found by id, and kept in memory, since an event never changes.

What may change about an event, its redaction and whether anything relates to it, is looked up at each reading.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import IntEnum
from functools import cached_property
from itertools import accumulate
from sys import getsizeof
from typing import NamedTuple

from attrs import evolve, field, frozen

from synapse_lite.canonical_json import decode_exact, dump
from synapse_lite.errors import not_found
from synapse_lite.matrix.event import Event, completes, event_in_room, redacted
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.marks import Marks, read_marks
from synapse_lite.storage.nids import nid_array
from synapse_lite.storage.statements import Row
from synapse_lite.storage.stream import Change, Kind


class Standing(IntEnum):
    """What the rules of the room say of an event; the numbers are stored. Only accepted ones make up the room."""

    ACCEPTED = 0
    OUTLIER = 1  # known by itself, but no part of the history
    SOFT_FAILED = 2  # allowed where it hangs, but not by the current state: nothing of ours follows it
    REJECTED = 3


@frozen(eq=False)
class StoredEvent:
    """An event with its place in the room.

    `before_nid` and `after_nid` are snapshots of the room's state around it, None when that is unknown,
    `replaces_nid` the state event whose place it took. `session` and `txn_id` tell the client that sent
    it so. Of a redaction that hangs on the past, where its sender could still send it, `point_nid` is the
    snapshot there, for the graph; for readers the state around it is that of the time when it was sent.
    """

    nid: int
    room_nid: int
    event: Event
    before_nid: int | None
    after_nid: int | None
    replaces_nid: int | None = None
    point_nid: int | None = None
    session: str | None = None
    txn_id: str | None = None
    standing: Standing = Standing.ACCEPTED

    @property
    def event_id(self) -> str:
        return self.event.event_id

    @property
    def is_placed(self) -> bool:
        """Whether its place in the history of the room is known; an auth event may be known by itself."""
        return self.standing is Standing.ACCEPTED or self.after_nid is not None

    @cached_property
    def client_json(self) -> bytes:
        """`event_in_room`, encoded once for all readers."""
        # orjson does not give back what it reserved, 4 KiB at least: what is kept is a copy of the right size.
        return bytes(memoryview(dump(event_in_room(self.event))))


@frozen
class NewEvent:
    """An event to be stored.

    `is_shown`: it gets a position in the stream; else no page and no /sync has it. `was_outlier`: it is stored
    already, and found its place. `received_ts` None: it comes now.
    """

    stored: StoredEvent
    auth_nids: Sequence[int]
    rejected_reason: str | None = None
    is_shown: bool = field()
    was_outlier: bool = False
    received_ts: int | None = None

    @is_shown.default
    def _is_shown(self) -> bool:
        return self.stored.standing is Standing.ACCEPTED


@frozen(eq=False)
class Thread:
    """Of the thread that an event began: the last one in it, how many there are, whether the reader takes part."""

    latest: "View"
    count: int
    participated: bool


@frozen(eq=False)
class Aggregations:
    """What relates to an event: its newest edit, its thread, the ids of what refers to it."""

    edit: StoredEvent | None = None
    thread: Thread | None = None
    reference_ids: Sequence[str] = ()


class View(NamedTuple):
    """An event as it may be read now: its redaction, the state event that it replaced, what relates to it.

    `membership` is the reader's at the event, where that is known. `hides_redaction`: the reader is not told
    who redacted it, nor why. `is_parent`: something relates to it; False also where nobody asked for that.

    A tuple, because there are two for each event of each page, and a frozen class of attrs takes three times as long.
    """

    stored: StoredEvent
    redaction: StoredEvent | None = None
    previous: Event | None = None
    aggregations: Aggregations | None = None
    membership: str | None = None
    hides_redaction: bool = False
    is_parent: bool = False

    def seen_by(self, membership: str | None, hides_redaction: bool) -> "View":
        """As a reader with that membership reads it. Faster than `_replace`."""
        stored, redaction, previous, aggregations, _, _, is_parent = self
        return View(stored, redaction, previous, aggregations, membership, hides_redaction, is_parent)


MAX_AMENDED = 100_000
"""Numbers of events that are stored otherwise than they were; they are few."""

# Sub-selects, because they are read from an index also where a table has no statistics yet.
_SELECT = (
    "SELECT e.event_nid, e.room_nid, e.event_id, e.json, e.before_nid, e.after_nid, e.replaces_nid,"
    " e.point_nid, t.session, t.txn_id, e.standing, (SELECT version FROM rooms r WHERE r.room_nid = e.room_nid)"
    " FROM events e LEFT JOIN LATERAL ("
    "  SELECT session, txn_id FROM event_transactions WHERE event_nid = e.event_nid LIMIT 1) AS t ON TRUE"
)

_COLUMNS = (
    "events (event_nid, room_nid, event_id, type, state_key, membership, sender, depth, origin_server_ts, received_ts,"
    " standing, rejected_reason, replaces_nid, before_nid, after_nid, point_nid, auth_nids, json)"
)
MANY = 100
"""From so many events on it pays to copy them, which takes a round trip of its own."""

_SIZES = "SELECT event_nid, octet_length(json) FROM events WHERE event_nid = ANY(%s::bigint[])"


class EventStore:
    """Reads events, through a cache of at most `cache_bytes`."""

    def __init__(self, cache_bytes: int) -> None:
        self._cache: Cache[int, StoredEvent] = Cache(cache_bytes)
        self._amended: set[int] = set()

    def remember(self, stored: StoredEvent, json: str) -> None:
        """Put an event into the cache; `json` is what is stored of it."""
        self._cache.put(stored.nid, stored, _size_in_memory(json))
        if stored.nid in self._amended:
            self.forget(stored.nid)

    def insert(self, txn: Transaction, new: Sequence[NewEvent], now_ms: int) -> None:
        rows = []
        for one in new:
            stored, event = one.stored, one.stored.event
            json = dump(event.pdu).decode()
            if stored.is_placed:
                self.remember(stored, json)
            rows.append(
                (stored.nid, stored.room_nid, event.event_id, event.type, event.state_key, event.membership,
                 event.sender, event.depth, event.origin_server_ts,
                 now_ms if one.received_ts is None else one.received_ts, int(stored.standing),
                 one.rejected_reason, stored.replaces_nid, stored.before_nid, stored.after_nid, stored.point_nid,
                 nid_array(one.auth_nids), json)
            )  # fmt: skip
        if len(rows) >= MANY:
            txn.copy(_COLUMNS, [[None if value is None else str(value) for value in row] for row in rows])
        else:
            txn.insert(f"INSERT INTO {_COLUMNS} VALUES %s", rows)

    def cached(self, nids: Iterable[int]) -> dict[int, StoredEvent]:
        """Those of the events that are in memory: no I/O."""
        return self._cache.find(nids)

    def within_bytes(self, txn: Transaction, nids: Sequence[int], most: int) -> int:
        """How many of the first events have together at most so many bytes; at least one, where there is any.

        The database is asked for the sizes of those that are not in memory, before any of them is read.
        """
        known = self.cached(nids)
        sizes = {nid: len(stored.client_json) for nid, stored in known.items()}
        missing = [nid for nid in nids if nid not in known]
        if missing:
            sizes.update(txn.rows(_SIZES, (nid_array(missing),)))
        if sum(sizes.values()) <= most:  # nearly always
            return len(nids)
        totals = accumulate(sizes.get(nid, 0) for nid in nids)
        return max(1, sum(total <= most for total in totals))

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

    def nids_of(self, txn: Transaction, event_ids: Collection[str]) -> dict[str, int]:
        """Nids by event id, without reading the events; an unknown id is absent."""
        rows = txn.rows("SELECT event_id, event_nid FROM events WHERE event_id = ANY(%s)", (list(event_ids),))
        return dict(rows)

    def ids_of(self, txn: Transaction, nids: Collection[int]) -> dict[int, str]:
        """Event ids by nid, without reading the events; a nid that is not stored is absent."""
        rows = txn.rows(
            "SELECT event_nid, event_id FROM events WHERE event_nid = ANY(%s::bigint[])", (nid_array(nids),)
        )
        return dict(rows)

    def memberships(self, txn: Transaction, nids: Collection[int]) -> dict[int, str | None]:
        """What member events say, by nid, without reading the events; a nid that is not stored is absent."""
        rows = txn.rows(
            "SELECT event_nid, membership FROM events WHERE event_nid = ANY(%s::bigint[])", (nid_array(nids),)
        )
        return dict(rows)

    def promote(self, txn: Transaction, stored: StoredEvent, reason: str | None = None) -> None:
        """An outlier has found its place in the history; `reason` is why it is not accepted there."""
        place = (stored.replaces_nid, stored.before_nid, stored.after_nid, stored.point_nid)
        json = dump(stored.event.pdu).decode()
        row = txn.row(
            "UPDATE events SET standing = %s, rejected_reason = %s, replaces_nid = %s, before_nid = %s,"
            " after_nid = %s, point_nid = %s WHERE event_nid = %s"
            " RETURNING CASE WHEN json = %s THEN NULL ELSE json END",
            (int(stored.standing), reason, *place, stored.nid, json),
        )
        known = None if row is None or row[0] is None else decode_exact(row[0])
        if known is not None and completes(stored.event, Event.from_pdu(known, stored.event.version)):
            txn.execute("UPDATE events SET json = %s WHERE event_nid = %s", (json, stored.nid))

    def forget(self, nid: int) -> None:
        """It is read again."""
        self._cache.remove(nid)

    def complete(self, txn: Transaction, event_id: str, event: Event) -> StoredEvent | None:
        """The event as it is stored now; None if nothing lacked, or it is redacted. For who holds the head of its room.

        Publishes `AMENDED`, so that every process forgets what it has of it.
        """
        row = txn.row(
            f"{_SELECT} WHERE e.event_id = %s AND NOT EXISTS"
            " (SELECT FROM redactions r WHERE r.target_nid = e.event_nid AND r.applied)",
            (event_id,),
        )
        if row is None or not completes(event, _event_of(row)):
            return None
        stored = evolve(self._read(row), event=event)
        txn.execute(
            "UPDATE events SET json = %s WHERE event_nid = %s", (dump(event.pdu).decode(), stored.nid)
        )
        txn.publish(Kind.AMENDED, room_nid=stored.room_nid, key=str(stored.nid))
        return stored

    def on_changes(self, changes: Sequence[Change]) -> None:
        """An event that was amended is not kept in memory any more: a reading under way may still find it as it was."""
        for change in changes:
            if change.kind is Kind.AMENDED and change.key is not None:
                nid = int(change.key)
                if len(self._amended) >= MAX_AMENDED:
                    self._amended.clear()
                self._amended.add(nid)
                self.forget(nid)

    def in_room(self, txn: Transaction, room_id: str, event_id: str) -> StoredEvent:
        """The event of that room; 404 `M_NOT_FOUND` else."""
        stored = self.by_ids(txn, [event_id]).get(event_id)
        if stored is None or stored.event.room_id != room_id:
            raise not_found("Event not found.")
        return stored

    def redactions(self, txn: Transaction, nids: Collection[int]) -> dict[int, StoredEvent]:
        """The redaction that applies to each of the events: target nid to redaction."""
        return self._load_redactions(txn, read_marks(txn, nids, {}).redactions)

    def views(self, txn: Transaction, nids: Sequence[int], *, as_parents: bool = False) -> list[View]:
        """The events in the order of their nids, those that are not stored left out.

        `as_parents`: with the answer whether something relates to them.
        """
        return self._views(txn, nids, nids if as_parents else (), Marks())

    def views_of_each(
        self, txn: Transaction, timeline: Sequence[int], state: Sequence[int], known: Marks | None = None
    ) -> tuple[list[View], list[View]]:
        """As `views`, the timeline as parents: no more statements for both than for one; none for what is `known`, to
        which what was looked up is added.
        """
        known = Marks() if known is None else known
        if not state:
            return self._views(txn, timeline, timeline, known), []
        found = {
            view.stored.nid: view for view in self._views(txn, list({*timeline, *state}), timeline, known)
        }
        shown, around = ([found[nid] for nid in nids if nid in found] for nids in (timeline, state))
        return shown, around

    def _views(
        self, txn: Transaction, nids: Sequence[int], parents: Collection[int], known: Marks
    ) -> list[View]:
        events = self.load(txn, nids)
        replaced = [stored.replaces_nid for stored in events.values() if stored.replaces_nid is not None]
        previous = self.load(txn, replaced) if replaced else {}
        possible = {nid: events[nid].event_id for nid in parents if nid in events and nid not in known.nids}
        others = {*events, *previous} - known.nids - known.others - possible.keys()
        known.add(read_marks(txn, others, possible))
        mine = {nid: known.redactions[nid] for nid in (*events, *previous) if nid in known.redactions}
        redactions = self._load_redactions(txn, mine)
        return [view(events[nid], previous, redactions, known.parents) for nid in nids if nid in events]

    def _load_redactions(self, txn: Transaction, nids: Mapping[int, int]) -> dict[int, StoredEvent]:
        redactions = self.load(txn, list(nids.values())) if nids else {}
        return {target: redactions[redaction] for target, redaction in nids.items()}

    def _read(self, row: Row) -> StoredEvent:
        nid, room_nid, _, json, before_nid, after_nid, replaces_nid, point_nid = row[:8]
        session, txn_id, standing, _ = row[8:]
        stored = StoredEvent(
            nid, room_nid, _event_of(row), before_nid, after_nid, replaces_nid, point_nid, session, txn_id, Standing(standing)
        )  # fmt: skip
        if stored.is_placed:  # else it may yet find its place, on any process
            self.remember(stored, json)
        return stored


def _event_of(row: Row) -> Event:
    return Event.from_pdu(decode_exact(row[3]), ROOM_VERSIONS[row[11]], row[2])


def _size_in_memory(json: str) -> int:
    """About how many bytes an event takes with its `client_json`, by what its JSON is made of.

    Many small values take far more than their text: an empty object is 2 bytes there and 64 here.
    """
    values = 40 * json.count(",") + 130 * json.count("{") + 60 * json.count("[")
    return 700 + 2 * getsizeof(json) + values


def view(
    stored: StoredEvent,
    previous: Mapping[int, StoredEvent],
    redactions: Mapping[int, StoredEvent],
    parents: Collection[int] = (),
) -> View:
    """`previous` holds the replaced state events by nid, `redactions` the redactions by target nid."""
    nid = stored.nid
    replaced = previous.get(stored.replaces_nid) if stored.replaces_nid is not None else None
    before = None
    if replaced is not None:
        before = redacted(replaced.event) if replaced.nid in redactions else replaced.event
    return View(
        stored, redactions.get(nid), before, None, None, False, nid in parents
    )  # by name it takes longer
