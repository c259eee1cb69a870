"""Invites that nobody has answered yet."""

from attrs import frozen

from synapse_lite.storage.database import Transaction


@frozen
class PendingInvite:
    """`user_id` is who is invited."""

    room_nid: int
    room_id: str
    user_id: str


def pending_invites(
    txn: Transaction, sender: str, server_name: str, after: tuple[int, str], limit: int
) -> list[PendingInvite]:
    """Sent by a user, into rooms that this server is in; the next ones by room and invited user."""
    rows = txn.rows(
        "SELECT m.room_nid, r.room_id, m.user_id FROM memberships m JOIN rooms r USING (room_nid)"
        " WHERE m.sender = %(sender)s AND m.membership = 'invite' AND NOT r.purging"
        " AND (m.room_nid, m.user_id) > (%(room_nid)s, %(user_id)s)"
        " AND EXISTS (SELECT FROM memberships o WHERE o.room_nid = m.room_nid AND o.membership = 'join'"
        "  AND o.server_name = %(server_name)s)"
        " ORDER BY m.room_nid, m.user_id LIMIT %(limit)s",
        {
            "sender": sender,
            "server_name": server_name,
            "room_nid": after[0],
            "user_id": after[1],
            "limit": limit,
        },
    )
    return [PendingInvite(*row) for row in rows]


def invites_elsewhere(
    txn: Transaction, room_nid: int, server_name: str, after: str, limit: int
) -> list[tuple[str, str]]:
    """Users of other servers who were invited by somebody of this server who is still in the room, and by whom; the next by user id."""
    return txn.rows(
        "SELECT m.user_id, m.sender FROM memberships m WHERE m.room_nid = %s AND m.user_id > %s"
        " AND m.membership = 'invite' AND m.server_name <> %s AND EXISTS (SELECT FROM memberships o"
        "  WHERE o.room_nid = m.room_nid AND o.user_id = m.sender AND o.membership = 'join' AND o.server_name = %s)"
        " ORDER BY m.user_id LIMIT %s",
        (room_nid, after, server_name, server_name, limit),
    )
