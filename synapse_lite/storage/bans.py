"""Who is banned from a room."""

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Membership


def banned_after(txn: Transaction, room_nid: int, after: str, limit: int) -> list[Membership]:
    """The next banned users in the order of their ids."""
    rows = txn.rows(
        "SELECT room_nid, user_id, membership, sender, event_nid, forgotten FROM memberships"
        " WHERE room_nid = %s AND user_id > %s AND membership = 'ban' ORDER BY user_id LIMIT %s",
        (room_nid, after, limit),
    )
    return [Membership(*row) for row in rows]
