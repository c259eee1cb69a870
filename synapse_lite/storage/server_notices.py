"""In which room a user gets the notices of the server."""

from synapse_lite.storage.database import Transaction


def notices_room(txn: Transaction, user_id: str) -> int | None:
    """Its nid."""
    nid: int | None = txn.value("SELECT room_nid FROM server_notice_rooms WHERE user_id = %s", (user_id,))
    return nid


def keep_notices_room(txn: Transaction, user_id: str, room_nid: int) -> None:
    txn.execute("INSERT INTO server_notice_rooms (user_id, room_nid) VALUES (%s, %s)", (user_id, room_nid))
