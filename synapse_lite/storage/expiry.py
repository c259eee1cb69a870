"""Deletes what has expired, some rows at a call. Times are milliseconds since 1970.

Each function deletes at most `limit` rows and says how many it found.
"""

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Trim, kinds_trimmed

_SUPERSEDED = """
DELETE FROM stream s WHERE position = ANY(%s) AND (kind = ANY(%s::smallint[]) OR EXISTS (
    SELECT FROM stream newer WHERE newer.user_id = s.user_id AND newer.kind = s.kind
        AND newer.room_nid IS NOT DISTINCT FROM s.room_nid AND newer.key IS NOT DISTINCT FROM s.key
        AND newer.position > s.position))
"""


def delete_old_uia_sessions(txn: Transaction, before_ms: int, limit: int) -> int:
    return txn.execute(
        "DELETE FROM uia_sessions WHERE session_id IN (SELECT session_id FROM uia_sessions"
        " WHERE created_ts < %s ORDER BY created_ts LIMIT %s FOR UPDATE SKIP LOCKED)",
        (before_ms, limit),
    )


def delete_old_nonces(txn: Transaction, before_ms: int, limit: int) -> int:
    return txn.execute(
        "DELETE FROM registration_nonces WHERE nonce IN (SELECT nonce FROM registration_nonces"
        " WHERE used_ts < %s ORDER BY used_ts LIMIT %s FOR UPDATE SKIP LOCKED)",
        (before_ms, limit),
    )


def delete_old_transactions(txn: Transaction, before_ms: int, limit: int) -> int:
    """Those of clients that send: nobody tries again after so long."""
    return txn.execute(
        "DELETE FROM event_transactions WHERE (session, room_nid, endpoint, txn_id) IN ("
        " SELECT session, room_nid, endpoint, txn_id FROM event_transactions"
        " WHERE created_ts < %s ORDER BY created_ts LIMIT %s FOR UPDATE SKIP LOCKED)",
        (before_ms, limit),
    )


def mark_stream(txn: Transaction, now_ms: int) -> None:
    """Remember how far the stream has come by now: rows of the stream carry no time."""
    txn.execute(
        "INSERT INTO stream_marks (at, position) SELECT %s, position FROM stream_position ON CONFLICT DO NOTHING",
        (now_ms,),
    )


def position_before(txn: Transaction, before_ms: int) -> int:
    """All rows of the stream up to here are older than that; older marks are forgotten."""
    row = txn.row(
        "SELECT at, position FROM stream_marks WHERE at < %s ORDER BY at DESC LIMIT 1", (before_ms,)
    )
    if row is None:
        return 0
    at, position = row
    txn.execute("DELETE FROM stream_marks WHERE at < %s", (at,))
    return int(position)


def trim_stream(txn: Transaction, after: int, upto: int, limit: int) -> tuple[int, int | None]:
    """Delete rows of the stream that tell nobody anything any more; (deleted, where to go on).

    Looks at `limit` rows in (after, upto]. What goes when is said by `KINDS`.
    """
    followed, superseded = kinds_trimmed(Trim.FOLLOWED), kinds_trimmed(Trim.SUPERSEDED)
    rows = txn.rows(
        "SELECT position FROM stream WHERE event_nid IS NULL AND kind = ANY(%s::smallint[])"
        " AND position > %s AND position <= %s ORDER BY position LIMIT %s",
        ([*followed, *superseded], after, upto, limit),
    )
    positions = [position for (position,) in rows]
    deleted = txn.execute(_SUPERSEDED, (positions, followed))
    return deleted, positions[-1] if len(positions) == limit else None
