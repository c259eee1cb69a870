"""The events of rooms in stream order: pages for history, windows for /sync."""

from collections.abc import Collection, Sequence
from typing import Protocol

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.nids import nid_array
from synapse_lite.storage.stream import ROOM_ORDER, ROOM_ORDER_BACK, Kind, room_span

Entry = tuple[int, int]  # position, event nid
Span = tuple[int, int, int]  # room nid, and the stretch of the stream: after < position <= upto


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
    def contains_url(self) -> bool | None: ...


def page(txn: Transaction, span: Span, limit: int, selection: Selection, *, backwards: bool) -> list[Entry]:
    """The first events of a span, or (backwards) the last ones, newest first."""
    condition, arguments = _condition(selection)
    order = ROOM_ORDER_BACK if backwards else ROOM_ORDER
    room_nid, after, upto = span
    return txn.rows(
        f"SELECT s.position, s.event_nid FROM stream s WHERE {room_span('%s', _EVENT, '%s', '%s')}"
        f" {condition} ORDER BY {order} LIMIT %s",
        (room_nid, after, room_nid, upto, *arguments, limit),
    )


def windows(
    txn: Transaction, spans: Collection[Span], limit: int, selection: Selection
) -> dict[int, list[Entry]]:
    """Of each room the newest events in its span, oldest first, in one statement."""
    condition, arguments = _condition(selection)
    rows = txn.rows(
        f"SELECT r.room_nid, w.position, w.event_nid FROM {_SPANS} CROSS JOIN LATERAL ("
        " SELECT s.position, s.event_nid FROM stream s"
        f" WHERE {room_span('r.room_nid', _EVENT, 'r.after', 'r.upto')} {condition}"
        f" ORDER BY {ROOM_ORDER_BACK} LIMIT %s) AS w ORDER BY w.position",
        (*_columns(spans), *arguments, limit),
    )
    found: dict[int, list[Entry]] = {}
    for room_nid, position, event_nid in rows:
        found.setdefault(room_nid, []).append((position, event_nid))
    return found


def state_changes(txn: Transaction, spans: Collection[Span]) -> dict[int, list[int]]:
    """Of each room the last state event of each key in its span."""
    rows = txn.rows(
        f"SELECT DISTINCT ON (r.room_nid, e.type, e.state_key) r.room_nid, e.event_nid FROM {_SPANS}"
        f" CROSS JOIN (VALUES ({Kind.EVENT:d}), ({Kind.KEPT:d})) AS k (kind) CROSS JOIN LATERAL ("
        "  SELECT s.position, s.event_nid FROM stream s"
        f"  WHERE {room_span('r.room_nid', 'k.kind', 'r.after', 'r.upto')} OFFSET 0) AS s CROSS JOIN LATERAL ("
        "  SELECT event_nid, type, state_key FROM events WHERE event_nid = s.event_nid AND state_key IS NOT NULL"
        "  OFFSET 0) AS e"
        " ORDER BY r.room_nid, e.type, e.state_key, s.position DESC",
        _columns(spans),
    )
    found: dict[int, list[int]] = {}
    for room_nid, event_nid in rows:
        found.setdefault(room_nid, []).append(event_nid)
    return found


def positions_of(txn: Transaction, event_nids: Collection[int]) -> dict[int, int]:
    """Event nid to position."""
    if not event_nids:
        return {}
    rows = txn.rows(
        "SELECT event_nid, position FROM stream WHERE event_nid = ANY(%s::bigint[])", (nid_array(event_nids),)
    )
    return dict(rows)


def own_memberships(txn: Transaction, user_id: str, after: int, upto: int) -> list[tuple[int, int, int]]:
    """(position, room nid, event nid) of each membership event about the user, in order."""
    return txn.rows(
        "SELECT position, room_nid, event_nid FROM stream"
        f" WHERE user_id = %s AND kind IN ({Kind.EVENT:d}, {Kind.KEPT:d})"
        " AND position > %s AND position <= %s ORDER BY position",
        (user_id, after, upto),
    )


_EVENT = f"{Kind.EVENT:d}"
_SPANS = "unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS r (room_nid, after, upto)"


# PostgreSQL does not look into JSON with a NUL.
_HAS_URL = "json_typeof(replace(e.json, '\\u0000', '\\u0001')::json #> '{content,url}') IS NOT DISTINCT FROM 'string'"


def _columns(spans: Collection[Span]) -> tuple[list[int], list[int], list[int]]:
    return [span[0] for span in spans], [span[1] for span in spans], [span[2] for span in spans]


def _condition(selection: Selection) -> tuple[str, list[object]]:
    """A condition about `stream s`, and its arguments; empty when everything is selected."""
    conditions, arguments = [], []
    for names, text in (
        (selection.types, "e.type LIKE ANY (%s)"),
        (selection.not_types or None, "NOT e.type LIKE ANY (%s)"),
    ):
        if names is not None:
            conditions.append(text)
            arguments.append([_pattern(name) for name in names])
    for names, text in (
        (selection.senders, "e.sender = ANY (%s)"),
        (selection.not_senders or None, "e.sender <> ALL (%s)"),
    ):
        if names is not None:
            conditions.append(text)
            arguments.append(list(names))
    if selection.contains_url is not None:
        conditions.append(_HAS_URL if selection.contains_url else f"NOT {_HAS_URL}")
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
