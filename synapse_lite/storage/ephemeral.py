"""Read receipts and typing: what /sync carries beside events."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind

PRIVATE = "m.read.private"


@frozen
class Receipt:
    """`thread_id` is "" for a receipt that concerns no thread in particular."""

    room_nid: int
    user_id: str
    receipt_type: str
    thread_id: str
    event_id: str
    ts: int


def put_receipt(txn: Transaction, receipt: Receipt) -> None:
    txn.execute(
        "INSERT INTO receipts (room_nid, user_id, receipt_type, thread_id, event_id, ts)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (room_nid, user_id, receipt_type, thread_id)"
        " DO UPDATE SET event_id = excluded.event_id, ts = excluded.ts",
        (
            receipt.room_nid,
            receipt.user_id,
            receipt.receipt_type,
            receipt.thread_id,
            receipt.event_id,
            receipt.ts,
        ),
    )
    txn.publish(Kind.RECEIPT, room_nid=receipt.room_nid, user_id=receipt.user_id)


def receipts(
    txn: Transaction, room_nids: Collection[int], reader: str, changed: Collection[tuple[int, str]] | None
) -> list[Receipt]:
    """What the reader may see of the rooms' receipts; of (room, user) pairs in `changed` only, if given."""
    rows = txn.rows(
        "SELECT room_nid, user_id, receipt_type, thread_id, event_id, ts FROM receipts"
        " WHERE room_nid = ANY(%s) AND (receipt_type <> %s OR user_id = %s)",
        (list(room_nids), PRIVATE, reader),
    )
    found = [Receipt(*row) for row in rows]
    return found if changed is None else [one for one in found if (one.room_nid, one.user_id) in changed]


def set_typing(txn: Transaction, room_nid: int, user_id: str, expires_ts: int, now_ms: int) -> None:
    """The user types until `expires_ts`, or no more when that has passed."""
    before = txn.value(
        "SELECT expires_ts > %s FROM typing WHERE room_nid = %s AND user_id = %s FOR UPDATE",
        (now_ms, room_nid, user_id),
    )
    if expires_ts > now_ms:
        txn.execute(
            "INSERT INTO typing (room_nid, user_id, expires_ts) VALUES (%s, %s, %s)"
            " ON CONFLICT (room_nid, user_id) DO UPDATE SET expires_ts = excluded.expires_ts",
            (room_nid, user_id, expires_ts),
        )
    else:
        txn.execute("DELETE FROM typing WHERE room_nid = %s AND user_id = %s", (room_nid, user_id))
    if bool(before) != (expires_ts > now_ms):
        txn.publish(Kind.TYPING, room_nid=room_nid)


def expire_typing(txn: Transaction, now_ms: int) -> None:
    """Forget those whose time is over, and let the rooms know."""
    rows = txn.rows("DELETE FROM typing WHERE expires_ts <= %s RETURNING room_nid", (now_ms,))
    for room_nid in {room_nid for (room_nid,) in rows}:
        txn.publish(Kind.TYPING, room_nid=room_nid)


def typing(txn: Transaction, room_nids: Collection[int], now_ms: int) -> dict[int, list[str]]:
    """Who types, by room; a room where nobody does is absent."""
    found: dict[int, list[str]] = {}
    for room_nid, user_id in txn.rows(
        "SELECT room_nid, user_id FROM typing WHERE room_nid = ANY(%s) AND expires_ts > %s ORDER BY user_id",
        (list(room_nids), now_ms),
    ):
        found.setdefault(room_nid, []).append(user_id)
    return found
