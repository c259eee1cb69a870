"""The events of rooms in stream order: pages for history, windows for /sync."""

from collections.abc import Collection, Sequence
from typing import Protocol

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind

Entry = tuple[int, int]  # position, event nid


class Selection(Protocol):
    """Which events count; a type may end in `*`, None means all."""

    @property
    def types(self) -> Sequence[str] | None: ...
    @property
    def not_types(self) -> Sequence[str]: ...
    @property
    def senders(self) -> Sequence[str] | None: ...
    @property
    def not_senders(self) -> Sequence[str]: ...


def page_backwards(
    txn: Transaction, room_nid: int, upto: int, after: int, limit: int, selection: Selection
) -> list[Entry]:
    """The newest events with `after` < position <= `upto`, newest first."""
    join, condition, arguments = _condition(selection)
    return txn.rows(
        f"SELECT s.position, s.event_nid FROM stream s {join} WHERE s.room_nid = %s AND s.kind = {Kind.EVENT:d}"
        f" AND s.position <= %s AND s.position > %s {condition} ORDER BY s.position DESC LIMIT %s",
        (room_nid, upto, after, *arguments, limit),
    )


def page_forwards(
    txn: Transaction, room_nid: int, after: int, upto: int, limit: int, selection: Selection
) -> list[Entry]:
    """The oldest events with `after` < position <= `upto`, oldest first."""
    join, condition, arguments = _condition(selection)
    return txn.rows(
        f"SELECT s.position, s.event_nid FROM stream s {join} WHERE s.room_nid = %s AND s.kind = {Kind.EVENT:d}"
        f" AND s.position > %s AND s.position <= %s {condition} ORDER BY s.position LIMIT %s",
        (room_nid, after, upto, *arguments, limit),
    )


def windows(
    txn: Transaction, room_nids: Collection[int], after: int, upto: int, limit: int, selection: Selection
) -> dict[int, list[Entry]]:
    """Of each room the newest events with `after` < position <= `upto`, oldest first, in one statement."""
    join, condition, arguments = _condition(selection)
    rows = txn.rows(
        "SELECT r.room_nid, w.position, w.event_nid FROM unnest(%s::bigint[]) AS r (room_nid) CROSS JOIN LATERAL ("
        f" SELECT s.position, s.event_nid FROM stream s {join} WHERE s.room_nid = r.room_nid"
        f" AND s.kind = {Kind.EVENT:d} AND s.position > %s AND s.position <= %s {condition}"
        " ORDER BY s.position DESC LIMIT %s) AS w ORDER BY w.position",
        (list(room_nids), after, upto, *arguments, limit),
    )
    found: dict[int, list[Entry]] = {}
    for room_nid, position, event_nid in rows:
        found.setdefault(room_nid, []).append((position, event_nid))
    return found


def state_between(txn: Transaction, room_nid: int, after: int, before: int) -> list[int]:
    """The last state event of each key with `after` < position < `before`."""
    rows = txn.rows(
        "SELECT DISTINCT ON (e.type, e.state_key) e.event_nid FROM stream s JOIN events e USING (event_nid)"
        f" WHERE s.room_nid = %s AND s.kind = {Kind.EVENT:d} AND s.position > %s AND s.position < %s"
        " AND e.state_key IS NOT NULL ORDER BY e.type, e.state_key, s.position DESC",
        (room_nid, after, before),
    )
    return [nid for (nid,) in rows]


def positions_of(txn: Transaction, event_nids: Collection[int]) -> dict[int, int]:
    """Event nid to position."""
    rows = txn.rows("SELECT event_nid, position FROM stream WHERE event_nid = ANY(%s)", (list(event_nids),))
    return dict(rows)


def own_memberships(txn: Transaction, user_id: str, after: int, upto: int) -> list[tuple[int, int, int]]:
    """(position, room nid, event nid) of each membership event about the user, in order."""
    return txn.rows(
        f"SELECT position, room_nid, event_nid FROM stream WHERE user_id = %s AND kind = {Kind.EVENT:d}"
        " AND position > %s AND position <= %s ORDER BY position",
        (user_id, after, upto),
    )


def _condition(selection: Selection) -> tuple[str, str, list[object]]:
    """A join, a condition, and its arguments; none of them when everything is selected."""
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
    if not conditions:
        return "", "", []
    return "JOIN events e USING (event_nid)", "".join(f" AND {text}" for text in conditions), list(arguments)


def _pattern(name: str) -> str:
    """A type with an optional final `*` as a LIKE pattern."""
    escaped = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped[:-1] + "%" if name.endswith("*") else escaped
