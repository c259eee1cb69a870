"""Writing who is in which room; `storage.rooms` reads it."""

from collections.abc import Collection, Sequence

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Membership


def upsert_memberships(txn: Transaction, members: Sequence[Membership]) -> None:
    """Each user's new membership of a room; nobody is in a room twice."""
    if members:
        txn.insert(
            "INSERT INTO memberships (user_id, room_nid, membership, sender, event_nid, forgotten) VALUES %s"
            " ON CONFLICT (room_nid, user_id) DO UPDATE SET membership = excluded.membership,"
            " sender = excluded.sender, event_nid = excluded.event_nid, forgotten = excluded.forgotten",
            [
                (one.user_id, one.room_nid, one.membership, one.sender, one.event_nid, one.forgotten)
                for one in members
            ],
        )


def delete_memberships(txn: Transaction, members: Collection[tuple[int, str]]) -> None:
    """Of rooms (by nid) whose state no longer knows these users."""
    if members:
        txn.insert(
            "DELETE FROM memberships m USING (VALUES %s) AS gone (room_nid, user_id)"
            " WHERE (m.room_nid, m.user_id) = (gone.room_nid, gone.user_id)",
            list(members),
        )


def take_settings(txn: Transaction, user_ids: Collection[str], old_nid: int, new_nid: int) -> list[str]:
    """Note that the new room has what these users had set for the old one: those who were in both, and of whom it was not noted before."""
    rows = txn.rows(
        "UPDATE memberships n SET carried = TRUE FROM memberships o WHERE n.room_nid = %s AND n.user_id = ANY(%s)"
        " AND NOT n.carried AND o.room_nid = %s AND o.user_id = n.user_id RETURNING n.user_id",
        (new_nid, list(user_ids), old_nid),
    )
    return sorted(user_id for (user_id,) in rows)
