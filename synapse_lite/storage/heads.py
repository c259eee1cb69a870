"""The heads of rooms: what their next events are built on."""

from collections.abc import Collection, Sequence

from attrs import field, frozen

from synapse_lite.errors import not_found
from synapse_lite.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.event_transactions import (
    FIND_WITHIN,
    FoundRequests,
    SentRequest,
    columns_of,
    found_within,
)
from synapse_lite.storage.prepared import Prepared
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.statements import Row


@frozen
class RoomHead:
    """The forward extremities of a room, and the snapshot of its current state, in which they all meet.

    `is_partial`: not all of its members are known. `is_locked`: nobody else moves it until the transaction ends.
    """

    room: Room
    extremities: Sequence[int]
    depth: int
    snapshot_nid: int
    is_blocked: bool
    is_partial: bool
    is_locked: bool = field(eq=False, kw_only=True)


_SELECT = (
    "SELECT room_nid, room_id, version, extremities, depth, snapshot_nid,"
    " EXISTS (SELECT FROM blocked_rooms b WHERE b.room_id = rooms.room_id),"
    " EXISTS (SELECT FROM partial_rooms p WHERE p.room_nid = rooms.room_nid)"
)

_LOCKING = " FROM rooms WHERE room_nid = ANY(%s) AND (NOT purging OR %s) ORDER BY room_nid FOR NO KEY UPDATE"
_LOCK = Prepared("lock_heads", _SELECT + _LOCKING)
_LOCK_FREE = Prepared("lock_free_heads", f"{_SELECT}{_LOCKING} SKIP LOCKED")
_LOCK_AND_FIND = Prepared("lock_and_find", f"{_SELECT}, {FIND_WITHIN}{_LOCKING} SKIP LOCKED")


def lock_heads(txn: Transaction, room_nids: Collection[int], *, even_closed: bool) -> list[RoomHead]:
    """Until the transaction ends nobody else writes into these rooms. Locked by nid, so that no two wait in a circle.

    Rooms that are being purged are left out, unless `even_closed`; so are unknown ones.
    """
    return [_head(row) for row in txn.rows(_LOCK, (list(room_nids), even_closed))]


def lock_free_heads(txn: Transaction, room_nids: Collection[int]) -> list[RoomHead]:
    """As `lock_heads`, but without waiting: rooms that somebody else holds are left out, too."""
    return [_head(row) for row in txn.rows(_LOCK_FREE, (list(room_nids), False))]


def lock_free_heads_and_find(
    txn: Transaction, room_nids: Collection[int], requests: Collection[SentRequest]
) -> tuple[list[RoomHead], FoundRequests]:
    """As `lock_free_heads` and `find_sent`, at once: an event that was sent meanwhile, as the lock was taken, may be missing
    among the found, so that to insert its request is a `UniqueViolation`.
    """
    rows = txn.rows(_LOCK_AND_FIND, (*columns_of(requests), list(room_nids), False))
    return [_head(row[:-1]) for row in rows], found_within(rows[0][-1] if rows else None)


def read_head(txn: Transaction, room_nid: int) -> RoomHead | None:
    """Without a lock: it may have moved on. None for a room that is unknown, or being purged."""
    row = txn.row(f"{_SELECT} FROM rooms WHERE room_nid = %s AND NOT purging", (room_nid,))
    return _head(row, is_locked=False) if row else None


def deepest_events(txn: Transaction, room_nid: int, limit: int) -> list[int]:
    """Of those that make up the room, the nids of the ones that are farthest from its beginning."""
    rows = txn.rows(
        "SELECT event_nid FROM events WHERE room_nid = %s AND standing = 0 ORDER BY depth DESC, event_nid DESC LIMIT %s",
        (room_nid, limit),
    )
    return [nid for (nid,) in rows]


def _head(row: Row, *, is_locked: bool = True) -> RoomHead:
    return RoomHead(Room(row[0], row[1], ROOM_VERSIONS[row[2]]), *row[3:8], is_locked=is_locked)


def insert_room(
    txn: Transaction, room_id: str, version: RoomVersion, creator: str | None, created_ts: int
) -> int:
    """The nid of the new room; `UniqueViolation` when the id is taken."""
    return int(
        txn.value(
            "WITH made AS (INSERT INTO rooms (room_id, version, creator, created_ts) VALUES (%s, %s, %s, %s)"
            " RETURNING room_nid) INSERT INTO room_summary (room_nid) SELECT room_nid FROM made RETURNING room_nid",
            (room_id, version.identifier, creator, created_ts),
        )
    )


_KNOW = "INSERT INTO rooms (room_id, version, created_ts) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"


def know_room(txn: Transaction, room_id: str, version: RoomVersion, now_ms: int) -> Room:
    """A room of others: as it is known here, else with a new row and nothing in it."""
    txn.later(_KNOW, (room_id, version.identifier, now_ms))
    row = txn.row("SELECT room_nid, room_id, version FROM rooms WHERE room_id = %s", (room_id,))
    if row is None:
        raise not_found("Unknown room")
    return Room(row[0], row[1], ROOM_VERSIONS[row[2]])


def know_and_lock(txn: Transaction, room_id: str, version: RoomVersion, now_ms: int) -> RoomHead:
    """As `know_room` and `lock_heads`, in one round trip. 404 for a room that is being purged."""
    txn.later(_KNOW, (room_id, version.identifier, now_ms))
    row = txn.row(f"{_SELECT} FROM rooms WHERE room_id = %s AND NOT purging FOR NO KEY UPDATE", (room_id,))
    if row is None:
        raise not_found("Unknown room")
    return _head(row)


def describe_room(
    txn: Transaction, room_nid: int, version: RoomVersion, creator: str, created_ts: int
) -> None:
    """What the create event of a room of others says, which was not known when the room was first heard of."""
    txn.later(
        "UPDATE rooms SET version = %s, creator = %s, created_ts = %s WHERE room_nid = %s",
        (version.identifier, creator, created_ts, room_nid),
    )


@frozen
class MovedHead:
    """Where a room has come to. `last_event_nid` None: no event that pages show is new."""

    room_nid: int
    extremities: Sequence[int]
    depth: int
    snapshot_nid: int
    last_event_nid: int | None


def write_heads(txn: Transaction, heads: Sequence[MovedHead]) -> None:
    if heads:
        txn.insert(
            "UPDATE rooms SET extremities = v.extremities, depth = v.depth, snapshot_nid = v.snapshot_nid,"
            " last_event_nid = coalesce(v.last_event_nid, rooms.last_event_nid)"
            " FROM (VALUES %s) AS v (room_nid, extremities, depth, snapshot_nid, last_event_nid)"
            " WHERE rooms.room_nid = v.room_nid",
            [
                (one.room_nid, list(one.extremities), one.depth, one.snapshot_nid, one.last_event_nid)
                for one in heads
            ],
            "(%s, %s::bigint[], %s, %s, %s::bigint)",
        )
