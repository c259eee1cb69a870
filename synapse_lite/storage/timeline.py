"""The events of rooms in stream order: pages for history, windows for /sync."""

from collections.abc import Collection, Sequence
from typing import Protocol

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.nids import nid_array
from synapse_lite.storage.planner import keeping_to_indexes, planned_once
from synapse_lite.storage.prepared import Prepared
from synapse_lite.storage.stream import AFTER_GAP, ROOM_ORDER, ROOM_ORDER_BACK, Kind, Place, room_span

Entry = tuple[Place, int]  # place, event nid
MISSING = 0
"""In the place of an event: some that are not there. No event has this nid."""
Span = tuple[int, Place, Place]  # room nid, and the stretch of its history: after < place <= upto
LiveSpan = tuple[int, int, int]  # the same of what arrived live, by positions


class Selection(Protocol):
    """Which events count; `*` in a type stands for any text, None means all."""

    @property
    def types(self) -> Sequence[str] | None: ...
    @property
    def not_types(self) -> Sequence[str]: ...
    @property
    def senders(self) -> Sequence[str] | None: ...
    @property
    def not_senders(self) -> Sequence[str]: ...
    @property
    def rel_types(self) -> Sequence[str] | None: ...
    @property
    def not_rel_types(self) -> Sequence[str]: ...
    @property
    def related_by_senders(self) -> Sequence[str] | None: ...
    @property
    def related_by_rel_types(self) -> Sequence[str] | None: ...
    @property
    def contains_url(self) -> bool | None: ...
    @property
    def ignored(self) -> Collection[str]: ...


@keeping_to_indexes
def page(txn: Transaction, span: Span, limit: int, selection: Selection, *, backwards: bool) -> list[Entry]:
    """The first events of a span, or (backwards) the last ones, newest first."""
    condition, arguments = condition_of(selection)
    order = ROOM_ORDER_BACK if backwards else ROOM_ORDER
    room_nid, after, upto = span
    rows = txn.rows(
        f"SELECT s.position, s.minor, s.event_nid FROM stream s WHERE {room_span('%s', _EVENT, '%s, %s', '%s, %s')}"
        f" {condition} ORDER BY {order} LIMIT %s",
        (room_nid, *after, room_nid, *upto, *arguments, limit),
    )
    return [(Place(position, minor), nid) for position, minor, nid in rows]


@keeping_to_indexes
def around(
    txn: Transaction,
    places: Sequence[tuple[int, Place, Place]],
    limits: tuple[int, int],
    selection: Selection,
) -> list[tuple[list[Entry], list[Entry]]]:
    """What comes before each place and after it, nearest first, in one statement: at most `limits`.

    `places`: a room, a place in it, and the last place that is looked at.
    """
    condition, arguments = condition_of(selection)
    at, end = "p.position, p.minor", "p.end_position, p.end_minor"
    before = f"({room_span('p.room_nid', _EVENT, '0', at)} AND (s.position, s.minor) < ({at}))"
    after = room_span("p.room_nid", _EVENT, at, end)
    sides = " UNION ALL ".join(
        f"(SELECT {side} AS side, s.position, s.minor, s.event_nid FROM stream s WHERE {span}{condition}"
        f" ORDER BY {order} LIMIT %s)"
        for side, (span, order) in enumerate([(before, ROOM_ORDER_BACK), (after, ROOM_ORDER)])
    )
    columns = [[room, *place, *last] for room, place, last in places]
    sql = (
        "SELECT p.number, e.side, e.position, e.minor, e.event_nid FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[],"
        " %s::bigint[], %s::bigint[]) WITH ORDINALITY AS p (room_nid, position, minor, end_position, end_minor, number)"
        f" CROSS JOIN LATERAL ({sides}) AS e"
    )
    with planned_once(txn):
        rows = txn.rows(
            sql if condition else Prepared("around", sql),
            (*map(nid_array, zip(*columns, strict=True)), *arguments, limits[0], *arguments, limits[1]),
        )
    found: list[tuple[list[Entry], list[Entry]]] = [([], []) for _ in places]
    for number, side, position, minor, nid in rows:
        found[number - 1][side].append((Place(position, minor), nid))
    for before_it, after_it in found:
        before_it.sort(reverse=True)
        after_it.sort()
    return found


def windows(
    txn: Transaction, spans: Collection[LiveSpan], limit: int, selection: Selection
) -> dict[int, list[Entry]]:
    """Of each room the newest events that arrived live in its span, oldest first, in one statement.

    They begin after the last gap: an entry of `MISSING` stands for what is not there, or was fetched later. A gap counts
    also where the event after it is not selected, since some of what is missing may be.
    """
    condition, arguments = condition_of(selection)
    is_taken = f"(TRUE {condition})"
    rows = txn.rows(
        f"SELECT r.room_nid, w.position, w.event_nid, w.is_gap, w.is_taken FROM {_SPANS} CROSS JOIN LATERAL ("
        f" SELECT s.position, s.event_nid, {_IS_GAP} AS is_gap, NOT {_IS_GAP} OR {is_taken} AS is_taken FROM stream s"
        f" WHERE {room_span('r.room_nid', _EVENT, 'r.after', 'r.upto')} AND s.minor >= 0 AND ({_IS_GAP} OR {is_taken})"
        f" ORDER BY {ROOM_ORDER_BACK} LIMIT %s) AS w ORDER BY w.position",
        (*_columns(spans), *arguments, *arguments, limit),
    )
    found: dict[int, list[Entry]] = {}
    for room_nid, position, event_nid, is_gap, is_selected in rows:
        place = Place(position)
        if is_gap:
            found[room_nid] = [(place.before, MISSING)]
        if is_selected:
            found.setdefault(room_nid, []).append((place, event_nid))
    return found


def newest_positions(
    txn: Transaction, room_nids: Collection[int], upto: int, selection: Selection
) -> dict[int, int]:
    """By room: the position of the newest selected event that arrived live, or of the first event where there is none."""
    condition, arguments = condition_of(selection)
    events = f"SELECT s.position FROM stream s WHERE {room_span('r.room_nid', _EVENT, '0', '%s')}"
    newest = f"{events} AND s.minor >= 0 {condition} ORDER BY {ROOM_ORDER_BACK} LIMIT 1"
    first = f"{events} ORDER BY {ROOM_ORDER} LIMIT 1"
    rows = txn.rows(
        f"SELECT r.room_nid, coalesce(({newest}), ({first})) FROM unnest(%s::bigint[]) AS r (room_nid)",
        (upto, *arguments, upto, list(room_nids)),
    )
    return {nid: position for nid, position in rows if position is not None}


@frozen
class Moment:
    """When an event was sent, by its server's clock; of several the nid decides."""

    origin_server_ts: int
    event_nid: int


def page_by_time(
    txn: Transaction, room_nid: int, after: Moment, limit: int, *, backwards: bool
) -> list[tuple[Moment, Place]]:
    """The first events sent after a moment, or (backwards) the last ones before it, of those that pages show."""
    compared, direction = ("<", "DESC") if backwards else (">", "ASC")
    rows = txn.rows(
        "SELECT e.origin_server_ts, e.event_nid, s.position, s.minor FROM events e"
        f" JOIN stream s ON s.event_nid = e.event_nid AND s.kind = {_EVENT}"
        f" WHERE e.room_nid = %s AND (e.origin_server_ts, e.event_nid) {compared} (%s, %s)"
        f" ORDER BY e.origin_server_ts {direction}, e.event_nid {direction} LIMIT %s",
        (room_nid, after.origin_server_ts, after.event_nid, limit),
    )
    return [(Moment(ts, nid), Place(position, minor)) for ts, nid, position, minor in rows]


def places_of(txn: Transaction, event_nids: Collection[int]) -> dict[int, Place]:
    """Event nid to its place."""
    if not event_nids:
        return {}
    rows = txn.rows(
        "SELECT event_nid, position, minor FROM stream WHERE event_nid = ANY(%s::bigint[])",
        (nid_array(event_nids),),
    )
    return {nid: Place(position, minor) for nid, position, minor in rows}


def shown_place(txn: Transaction, event_nid: int) -> Place | None:
    """The place of an event that pages show; None for one that they do not, or no more."""
    row = txn.row(
        f"SELECT position, minor FROM stream WHERE event_nid = %s AND kind = {_EVENT}", (event_nid,)
    )
    return Place(*row) if row else None


_EVENT = f"{Kind.EVENT:d}"
_IS_GAP = f"(s.key IS NOT DISTINCT FROM '{AFTER_GAP}')"
_SPANS = "unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS r (room_nid, after, upto)"


# PostgreSQL does not look into JSON with a NUL.
_JSON = "replace(e.json, '\\u0000', '\\u0001')::json"
_HAS_URL = f"json_typeof({_JSON} #> '{{content,url}}') IS NOT DISTINCT FROM 'string'"
_REL_TYPE = f"({_JSON} #>> '{{content,m.relates_to,rel_type}}')"

_IS_RELATED_BY = (
    "EXISTS (SELECT FROM relations r WHERE r.parent_id = e.event_id AND r.room_nid = e.room_nid"
    " AND (%s::text[] IS NULL OR r.sender = ANY (%s::text[]))"
    " AND (%s::text[] IS NULL OR r.rel_type = ANY (%s::text[])) OFFSET 0)"
)


def _columns(spans: Collection[LiveSpan]) -> tuple[list[int], list[int], list[int]]:
    return [span[0] for span in spans], [span[1] for span in spans], [span[2] for span in spans]


def condition_of(selection: Selection) -> tuple[str, list[object]]:
    """A condition about the event of `s.event_nid`, and its arguments; empty when everything is selected."""
    conditions, arguments = list[str](), list[object]()
    for names, text in (
        (selection.types, "e.type LIKE ANY (%s)"),
        (selection.not_types or None, "NOT e.type LIKE ANY (%s)"),
    ):
        if names is not None:
            conditions.append(text)
            arguments.append([_pattern(name) for name in names])
    given: Collection[str] | None
    for given, text in (
        (selection.senders, "e.sender = ANY (%s)"),
        (selection.not_senders or None, "e.sender <> ALL (%s)"),
        (selection.ignored or None, "(e.state_key IS NOT NULL OR e.sender <> ALL (%s))"),
        (selection.rel_types, f"coalesce({_REL_TYPE} = ANY (%s), FALSE)"),
        (selection.not_rel_types or None, f"coalesce({_REL_TYPE} <> ALL (%s), TRUE)"),
    ):
        if given is not None:
            conditions.append(text)
            arguments.append(list(given))
    if selection.contains_url is not None:
        conditions.append(_HAS_URL if selection.contains_url else f"NOT {_HAS_URL}")
    senders, rel_types = selection.related_by_senders, selection.related_by_rel_types
    if senders is not None or rel_types is not None:
        conditions.append(_IS_RELATED_BY)
        lists = [None if names is None else list(names) for names in (senders, rel_types)]
        arguments += [lists[0], lists[0], lists[1], lists[1]]
    if not conditions:
        return "", []
    # OFFSET: looked up for each row, not joined with all events of the server.
    return (
        f" AND EXISTS (SELECT FROM events e WHERE e.event_nid = s.event_nid AND {' AND '.join(conditions)} OFFSET 0)",
        list(arguments),
    )


def _pattern(name: str) -> str:
    """A type with `*` as a LIKE pattern."""
    return name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%")
