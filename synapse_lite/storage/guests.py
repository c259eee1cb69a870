"""Guests of this server in rooms."""

from synapse_lite.storage.database import Transaction


def guests_in_room(
    txn: Transaction, room_nid: int, server_name: str, after: str, members: int
) -> tuple[list[str], str | None]:
    """The guests among the next so many joined members after that user, and how far was looked; None: to the end."""
    rows = txn.rows(
        "SELECT m.user_id, EXISTS (SELECT FROM users u WHERE u.user_id = m.user_id AND u.is_guest)"
        " FROM (SELECT user_id FROM memberships WHERE room_nid = %s AND membership = 'join' AND server_name = %s"
        "  AND user_id > %s ORDER BY user_id LIMIT %s) AS m ORDER BY m.user_id",
        (room_nid, server_name, after, members),
    )
    return [user_id for user_id, is_guest in rows if is_guest], rows[-1][0] if len(rows) == members else None
