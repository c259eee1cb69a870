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
