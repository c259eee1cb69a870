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
    """Store the receipt, unless one for the same or a later event is there.

    A private one is published as a change of its owner's own data, so that nobody else even wakes.
    """
    key = (receipt.room_nid, receipt.user_id, receipt.receipt_type, receipt.thread_id)
    known = txn.value(
        "SELECT event_id FROM receipts"
        " WHERE room_nid = %s AND user_id = %s AND receipt_type = %s AND thread_id = %s FOR UPDATE",
        key,
    )
    if known is not None and not is_news(txn, receipt.event_id, known):
        return
    txn.execute(
        "INSERT INTO receipts (room_nid, user_id, receipt_type, thread_id, event_id, ts)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (room_nid, user_id, receipt_type, thread_id)"
        " DO UPDATE SET event_id = excluded.event_id, ts = excluded.ts",
        (*key, receipt.event_id, receipt.ts),
    )
    kind = Kind.ACCOUNT_DATA if receipt.receipt_type == PRIVATE else Kind.RECEIPT
    txn.publish(kind, room_nid=receipt.room_nid, user_id=receipt.user_id)


def is_news(txn: Transaction, event_id: str, known: str) -> bool:
    """Whether the event is another than the known one, and not known to be earlier."""
    earlier = txn.value(
        "SELECT new.position < old.position FROM events n JOIN stream new USING (event_nid),"
        " events o JOIN stream old USING (event_nid) WHERE n.event_id = %s AND o.event_id = %s",
        (event_id, known),
    )
    return event_id != known and not earlier


def receipts(
    txn: Transaction, room_nids: Collection[int], reader: str, changed: Collection[tuple[int, str]] | None
) -> list[Receipt]:
    """What the reader may see of the rooms' receipts; of (room, user) pairs in `changed` only, if given."""
    join, arguments = "", []
    if changed is not None:
        join = " JOIN unnest(%s::bigint[], %s::text[]) AS c (room_nid, user_id) USING (room_nid, user_id)"
        arguments = [[room_nid for room_nid, _ in changed], [user_id for _, user_id in changed]]
    rows = txn.rows(
        f"SELECT room_nid, user_id, receipt_type, thread_id, event_id, ts FROM receipts{join}"
        " WHERE room_nid = ANY(%s) AND (receipt_type <> %s OR user_id = %s)"
        " ORDER BY room_nid, ts, user_id, receipt_type, thread_id",
        (*arguments, list(room_nids), PRIVATE, reader),
    )
    return [Receipt(*row) for row in rows]


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
