"""In which room a user gets the notices of the server."""

from synapse_lite.storage.database import Transaction


def notices_room(txn: Transaction, notifier: str, user_id: str) -> int | None:
    """Its nid; None where the server cannot speak to the user any more, as after the room was shut down, or after a ban."""
    nid: int | None = txn.value(
        "SELECT room_nid FROM server_notice_rooms r JOIN memberships m USING (room_nid)"
        " WHERE r.user_id = %s AND m.user_id = %s AND m.membership = 'join' AND NOT EXISTS (SELECT FROM memberships b"
        " WHERE b.room_nid = r.room_nid AND b.user_id = r.user_id AND b.membership = 'ban')",
        (user_id, notifier),
    )
    return nid


def is_notices_room(txn: Transaction, user_id: str, room_nid: int) -> bool:
    return bool(
        txn.value(
            "SELECT count(*) FROM server_notice_rooms WHERE user_id = %s AND room_nid = %s",
            (user_id, room_nid),
        )
    )


def keep_notices_room(txn: Transaction, user_id: str, room_nid: int) -> None:
    """From now on; another one is no longer the user's."""
    txn.execute(
        "INSERT INTO server_notice_rooms (user_id, room_nid) VALUES (%s, %s)"
        " ON CONFLICT (user_id) DO UPDATE SET room_nid = excluded.room_nid",
        (user_id, room_nid),
    )
