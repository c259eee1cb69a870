"""Read receipts and typing: what /sync carries beside events."""

from collections.abc import Collection, Iterable
from typing import Any

import orjson
from attrs import astuple, frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.prepared import Prepared
from synapse_lite.storage.stream import Change, Kind

PRIVATE = "m.read.private"
MAX_TYPING_MS = 120_000


@frozen
class Receipt:
    """`thread_id` is "" for a receipt that concerns no thread in particular."""

    room_nid: int
    user_id: str
    receipt_type: str
    thread_id: str
    event_id: str
    ts: int


_PUT_RECEIPT = Prepared(
    "put_receipt",
    "INSERT INTO receipts (room_nid, user_id, receipt_type, thread_id, event_id, ts, position)"
    " VALUES (%s, %s, %s, %s, %s, %s, (SELECT position FROM stream"
    "  WHERE event_nid = (SELECT event_nid FROM events WHERE event_id = %s AND room_nid = %s)))"
    " ON CONFLICT (room_nid, user_id, receipt_type, thread_id)"
    " DO UPDATE SET event_id = excluded.event_id, ts = excluded.ts, position = excluded.position"
    " WHERE excluded.event_id <> receipts.event_id"
    " AND NOT coalesce(excluded.position < coalesce(receipts.position, (SELECT s.position FROM stream s"
    "  WHERE s.event_nid = (SELECT event_nid FROM events e WHERE e.event_id = receipts.event_id))), FALSE)"
    " RETURNING position",
)


def put_receipt(txn: Transaction, receipt: Receipt) -> None:
    """Store the receipt, unless one for the same or a later event is there.

    A private one has a kind of its own, so that nobody else even wakes.
    """
    stored = txn.row(_PUT_RECEIPT, (*astuple(receipt), receipt.event_id, receipt.room_nid))
    if stored is None:
        return
    txn.publish(
        Kind.PRIVATE_RECEIPT if receipt.receipt_type == PRIVATE else Kind.RECEIPT,
        room_nid=receipt.room_nid,
        user_id=receipt.user_id,
        key=f"{receipt.receipt_type} {receipt.thread_id}",
        content=orjson.dumps([receipt.event_id, receipt.ts, stored[0]]).decode(),
    )


def changed_receipt(change: Change) -> Receipt:
    """The receipt that a change of one tells of."""
    receipt_type, thread_id = (change.key or "").split(" ", 1)
    event_id, ts, _ = orjson.loads(change.content or "")
    return Receipt(change.room_nid or 0, change.user_id or "", receipt_type, thread_id, event_id, ts)


def read_upto(change: Change) -> tuple[str, int | None]:
    """The thread of the receipt that a change tells of, and where its event is; None: nobody knew."""
    return (change.key or "").split(" ", 1)[1], orjson.loads(change.content or "")[2]


def is_news(txn: Transaction, event_id: str, known: str) -> bool:
    """Whether the event is another than the known one, and not known to be earlier."""
    earlier = txn.value(
        "SELECT new.position < old.position FROM events n JOIN stream new USING (event_nid),"
        " events o JOIN stream old USING (event_nid) WHERE n.event_id = %s AND o.event_id = %s",
        (event_id, known),
    )
    return event_id != known and not earlier


def receipts(txn: Transaction, room_nids: Collection[int], reader: str) -> list[Receipt]:
    """What the reader may see of the rooms' receipts."""
    rows = txn.rows(
        "SELECT room_nid, user_id, receipt_type, thread_id, event_id, ts FROM receipts"
        " WHERE room_nid = ANY(%s) AND (receipt_type <> %s OR user_id = %s)"
        " ORDER BY room_nid, ts, user_id, receipt_type, thread_id",
        (list(room_nids), PRIVATE, reader),
    )
    return [Receipt(*row) for row in rows]


# Each tells, too, whether the user was typing before.
_BEFORE = "WITH before AS (SELECT expires_ts FROM typing WHERE (room_nid, user_id) = (%(room_nid)s, %(user_id)s) FOR UPDATE)"
_START_TYPING = (
    f"{_BEFORE}, put AS (INSERT INTO typing (room_nid, user_id, expires_ts)"
    " VALUES (%(room_nid)s, %(user_id)s, %(expires_ts)s)"
    " ON CONFLICT (room_nid, user_id) DO UPDATE SET expires_ts = excluded.expires_ts)"
    " SELECT expires_ts > %(now_ms)s FROM before"
)
_END_TYPING = (
    "DELETE FROM typing WHERE (room_nid, user_id) = (%(room_nid)s, %(user_id)s)"
    " RETURNING expires_ts > %(now_ms)s"
)


def set_typing(
    txn: Transaction, room_nid: int, user_id: str, expires_ts: int, now_ms: int, *, is_renewed: bool = False
) -> None:
    """The user types until `expires_ts`, or no more when that has passed. `is_renewed`: it is told although it is no news."""
    place = {"room_nid": room_nid, "user_id": user_id, "expires_ts": expires_ts, "now_ms": now_ms}
    before = txn.value(_START_TYPING if expires_ts > now_ms else _END_TYPING, place)
    if bool(before) != (expires_ts > now_ms) or (is_renewed and expires_ts > now_ms):
        _tell(txn, [(room_nid, user_id)], is_typing=expires_ts > now_ms)


def expire_typing(txn: Transaction, now_ms: int) -> None:
    """Forget those whose time is over, and let the rooms know. Nobody types for longer than `MAX_TYPING_MS`: who seems
    to, began before the clock was set back.
    """
    rows = txn.rows(
        "DELETE FROM typing WHERE expires_ts <= %s OR expires_ts > %s RETURNING room_nid, user_id",
        (now_ms, now_ms + MAX_TYPING_MS),
    )
    _tell(txn, rows, is_typing=False)


def end_typing(txn: Transaction, members: Collection[tuple[int, str]]) -> None:
    """These users (with the room nid) type there no more, and the rooms are told of those who did."""
    if not members:
        return
    rows = txn.rows(
        "DELETE FROM typing USING unnest(%s::bigint[], %s::text[]) AS m (room_nid, user_id)"
        " WHERE (typing.room_nid, typing.user_id) = (m.room_nid, m.user_id)"
        " RETURNING typing.room_nid, typing.user_id",
        ([room_nid for room_nid, _ in members], [user_id for _, user_id in members]),
    )
    _tell(txn, rows, is_typing=False)


def _tell(txn: Transaction, typing: Iterable[tuple[Any, ...]], *, is_typing: bool) -> None:
    """(room nid, user): each room hears of it once."""
    rooms: dict[int, dict[str, bool]] = {}
    for room_nid, user_id in typing:
        rooms.setdefault(room_nid, {})[user_id] = is_typing
    for room_nid, users in sorted(rooms.items()):
        txn.publish(Kind.TYPING, room_nid=room_nid, content=orjson.dumps(users).decode())


def changed_typing(change: Change) -> dict[str, bool]:
    """Who began to type, or ended, that a change tells of."""
    users: dict[str, bool] = orjson.loads(change.content or "{}")
    return users


def typing(txn: Transaction, room_nids: Collection[int], now_ms: int) -> dict[int, list[str]]:
    """Who types, by room; a room where nobody does is absent."""
    found: dict[int, list[str]] = {}
    for room_nid, user_id in txn.rows(
        "SELECT room_nid, user_id FROM typing WHERE room_nid = ANY(%s) AND expires_ts > %s ORDER BY user_id",
        (list(room_nids), now_ms),
    ):
        found.setdefault(room_nid, []).append(user_id)
    return found
