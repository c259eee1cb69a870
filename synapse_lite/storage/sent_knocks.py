"""Knocks that were sent to another server and have no answer yet."""

from collections.abc import Collection

from synapse_lite.storage.database import Transaction

KEPT_MS = 3600 * 1000
"""A knock that has no answer by then failed long ago, or its process died."""
PRUNED_AT_ONCE = 20


def put_sent(txn: Transaction, event_id: str, room_nid: int, user_id: str, now_ms: int) -> None:
    """Before it is sent. Some whose time is over make room."""
    txn.later(
        "DELETE FROM sent_knocks WHERE event_id IN (SELECT event_id FROM sent_knocks"
        " WHERE sent_ts < %s ORDER BY sent_ts LIMIT %s FOR UPDATE SKIP LOCKED)",
        (now_ms - KEPT_MS, PRUNED_AT_ONCE),
    )
    txn.later(
        "INSERT INTO sent_knocks (event_id, room_nid, user_id, sent_ts) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (event_id, room_nid, user_id, now_ms),
    )


def has_sent(txn: Transaction, room_nid: int) -> bool:
    """Whether a user of ours has knocked on the room, and may have no answer yet."""
    return txn.row("SELECT FROM sent_knocks WHERE room_nid = %s LIMIT 1", (room_nid,)) is not None


def sent_among(txn: Transaction, room_nid: int, user_id: str, event_ids: Collection[str]) -> set[str]:
    """Those of the events that are knocks of the user on the room without an answer."""
    rows = txn.rows(
        "SELECT event_id FROM sent_knocks WHERE event_id = ANY(%s) AND room_nid = %s AND user_id = %s",
        (list(event_ids), room_nid, user_id),
    )
    return {event_id for (event_id,) in rows}


def forget_sent(txn: Transaction, event_id: str) -> None:
    """It has its answer."""
    txn.later("DELETE FROM sent_knocks WHERE event_id = %s", (event_id,))
