"""The stream: one counter that orders everything a client can see in /sync.

Positions are given out by the last statement of a transaction, under one row lock, so they become
visible in order and without gaps; see docs/architecture.md. `Database.transact` is the only caller
of `write_changes`: whoever writes something visible says so with `Transaction.publish`.
"""

from collections.abc import Collection, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, Protocol


class Kind(IntEnum):
    """What changed; the numbers are stored."""

    EVENT = 1
    RECEIPT = 2
    TYPING = 3
    ACCOUNT_DATA = 4
    SESSION = 5  # a token, device or account changed: cached sessions of the user are void
    ROOM_GONE = 6  # a room was purged: the user is out of it; without a user: its number means nothing
    KEPT = 7  # an event below the edge of a purged history: state, or one of ours; no page shows it


class Change(NamedTuple):
    """One position of the stream.

    `user_id` is whom it concerns besides the room: the target of a membership event, the owner of
    account data, a receipt or a session. `redacts_nid` is the event that an applied redaction empties.
    """

    position: int
    kind: Kind
    room_nid: int | None = None
    event_nid: int | None = None
    user_id: str | None = None
    redacts_nid: int | None = None

    def concerns(self, user_id: str, room_nids: Collection[int]) -> bool:
        """Whether a user who is in these rooms may see something new."""
        if self.kind in _OF_ROOMS and self.room_nid in room_nids:
            return True
        return self.user_id == user_id


_OF_ROOMS = frozenset({Kind.EVENT, Kind.RECEIPT, Kind.TYPING})


class Reader(Protocol):
    """The part of a `Transaction` that reading takes."""

    def rows(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]: ...


_COLUMNS = "position, kind, room_nid, event_nid, user_id, redacts_nid"

ROOM_ORDER = "s.room_nid, s.kind, s.position"
ROOM_ORDER_BACK = "s.room_nid DESC, s.kind DESC, s.position DESC"
END = 2**63 - 1  # as `upto`


def room_span(room_nid: str, kind: str, after: str, upto: str) -> str:
    """SQL about `stream s`, of SQL values: the room's rows of a kind at after < position <= upto.

    Rows are compared, and sorted by `ROOM_ORDER`, so that only the index of the room's rows will do. Of equal
    columns and `ORDER BY position` the planner may think that the whole server's stream is soon read to the
    first rows of the room: it knows how many there are, not that all of them are old.
    """
    return (
        "s.room_nid IS NOT NULL"  # as in the index
        f" AND ({ROOM_ORDER}) > ({room_nid}, {kind}, {after}) AND ({ROOM_ORDER}) <= ({room_nid}, {kind}, {upto})"
    )


def write_changes(txn: Reader, changes: Sequence[Change]) -> list[Change]:
    """Give the changes their positions and store them: the last statement before the commit."""
    kinds, *columns = (list(column) for column in zip(*(change[1:] for change in changes), strict=True))
    rows = txn.rows(
        "WITH head AS ("
        " UPDATE stream_position SET position = position + %s RETURNING position - %s AS before)"
        f" INSERT INTO stream ({_COLUMNS})"
        " SELECT head.before + n, kind, room_nid, event_nid, user_id, redacts_nid FROM head,"
        " unnest(%s::smallint[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[]) WITH ORDINALITY"
        " AS item (kind, room_nid, event_nid, user_id, redacts_nid, n) RETURNING position",
        [len(changes), len(changes), [int(kind) for kind in kinds], *columns],
    )
    first = min(position for (position,) in rows)
    return [change._replace(position=first + index) for index, change in enumerate(changes)]


def read_position(txn: Reader) -> int:
    """The last position given out."""
    ((position,),) = txn.rows("SELECT position FROM stream_position")
    return int(position)


def read_changes(txn: Reader, after: int, limit: int) -> list[Change]:
    """The next changes after a position, in order, at most `limit`."""
    rows = txn.rows(
        f"SELECT {_COLUMNS} FROM stream WHERE position > %s ORDER BY position LIMIT %s", (after, limit)
    )
    return [Change(row[0], Kind(row[1]), *row[2:]) for row in rows]


def quiet_changes(
    txn: Reader, user_id: str, room_nids: Collection[int], after: int, upto: int
) -> list[Change]:
    """What is not an event: of the rooms their receipts and typing, of the user their account data."""
    rows = txn.rows(
        f"SELECT {_COLUMNS} FROM stream WHERE room_nid = ANY(%s) AND kind IN ({Kind.RECEIPT:d}, {Kind.TYPING:d})"
        " AND position > %s AND position <= %s"
        f" UNION ALL SELECT {_COLUMNS} FROM stream WHERE user_id = %s AND kind = {Kind.ACCOUNT_DATA:d}"
        " AND position > %s AND position <= %s",
        (list(room_nids), after, upto, user_id, after, upto),
    )
    return [Change(row[0], Kind(row[1]), *row[2:]) for row in rows]
