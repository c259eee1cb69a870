"""Rooms in which two users are."""

from collections.abc import Collection

from synapse_lite.storage.database import Transaction

# From the rooms of the one who asks: how many the other one is in is nobody's business.
_MUTUAL = (
    " FROM memberships a JOIN memberships b USING (room_nid) JOIN rooms r USING (room_nid)"
    " WHERE a.user_id = %s AND a.membership = 'join' AND b.user_id = %s AND b.membership = 'join'"
)


def count_mutual(txn: Transaction, user_id: str, other: str) -> int:
    return int(txn.value(f"SELECT count(*){_MUTUAL}", (user_id, other)))


def mutual_rooms(txn: Transaction, user_id: str, other: str, after: str, limit: int) -> list[str]:
    """The next ones, by room id."""
    rows = txn.rows(
        f"SELECT r.room_id{_MUTUAL} AND r.room_id > %s ORDER BY r.room_id LIMIT %s",
        (user_id, other, after, limit),
    )
    return [room_id for (room_id,) in rows]


def share_room(txn: Transaction, user_id: str, other: str, excluded: Collection[str] = ()) -> bool:
    """Whether both are in one room that is not among these (by id)."""
    sql = f"SELECT 1{_MUTUAL} AND r.room_id <> ALL(%s) LIMIT 1"
    return txn.row(sql, (user_id, other, list(excluded))) is not None
