"""Closing rooms: to those who want in (blocked), and to every writer (about to be purged).

Whoever writes what belongs to a room locks its row first, and looks at `purging` under that lock: the
appender for events (`append`), everybody else through `hold_room`. So nothing can be written behind
the back of a purge, on whatever process.
"""

from synapse_lite.errors import not_found
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.prepared import Prepared
from synapse_lite.storage.room_directory import refresh_listing
from synapse_lite.storage.stream import Kind


def hold_room(txn: Transaction, room_nid: int) -> None:
    """Keep the room as it is until the transaction ends; 404 `M_NOT_FOUND` when it is going, or gone."""
    held = txn.row("SELECT FROM rooms WHERE room_nid = %s AND NOT purging FOR KEY SHARE", (room_nid,))
    if held is None:
        raise not_found("Unknown room")


def hold_room_alone(txn: Transaction, room_nid: int) -> None:
    """As `hold_room`, and nobody else writes into the room until then."""
    held = txn.row("SELECT FROM rooms WHERE room_nid = %s AND NOT purging FOR NO KEY UPDATE", (room_nid,))
    if held is None:
        raise not_found("Unknown room")


_HOLD_JOINED = Prepared(
    "hold_joined_room",
    "SELECT r.room_nid, r.purging FROM rooms r JOIN memberships m USING (room_nid)"
    " WHERE r.room_id = %s AND m.user_id = %s AND m.membership = 'join' FOR KEY SHARE OF r",
)


def hold_joined_room(txn: Transaction, room_id: str, user_id: str) -> int | None:
    """The number of a room that the user is in, kept as by `hold_room`; None when they are not in it."""
    held = txn.row(_HOLD_JOINED, (room_id, user_id))
    if held is None:
        return None
    room_nid, purging = held
    if purging:
        raise not_found("Unknown room")
    return int(room_nid)


def close_room(txn: Transaction, room_nid: int, now_ms: int) -> bool:
    """From this commit on nobody writes into the room; waits for those who do. False: it was closed, or gone."""
    is_closed = txn.value("SELECT purging FROM rooms WHERE room_nid = %s FOR UPDATE", (room_nid,))
    if is_closed is not False:
        return False
    txn.later("UPDATE rooms SET purging = TRUE WHERE room_nid = %s", (room_nid,))
    refresh_listing(txn, room_nid)
    txn.execute(
        "INSERT INTO purged_rooms (room_nid, room_id, purged_ts)"
        " SELECT room_nid, room_id, %s FROM rooms WHERE room_nid = %s ON CONFLICT DO NOTHING",
        (now_ms, room_nid),
    )
    txn.publish(Kind.ROOM_GONE, room_nid=room_nid)  # what is remembered of it is no longer true
    return True


def reopen_room(txn: Transaction, room_nid: int) -> None:
    """Undo `close_room`, as long as nothing of the room is deleted."""
    txn.later("UPDATE rooms SET purging = FALSE WHERE room_nid = %s", (room_nid,))
    refresh_listing(txn, room_nid)
    txn.execute("DELETE FROM purged_rooms WHERE room_nid = %s", (room_nid,))


def block_room(txn: Transaction, room_id: str, user_id: str) -> None:
    """Nobody joins, invites or knocks from now on. Who blocked first stands; the room may be unknown."""
    txn.execute(
        "INSERT INTO blocked_rooms (room_id, user_id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (room_id, user_id),
    )


def unblock_room(txn: Transaction, room_id: str) -> None:
    txn.execute("DELETE FROM blocked_rooms WHERE room_id = %s", (room_id,))


def blocked_by(txn: Transaction, room_id: str) -> str | None:
    """Who blocked the room; None when it is not blocked."""
    user_id: str | None = txn.value("SELECT user_id FROM blocked_rooms WHERE room_id = %s", (room_id,))
    return user_id
