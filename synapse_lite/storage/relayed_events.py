"""Events of other servers' users that entered their rooms through this one."""

from collections.abc import Collection

from synapse_lite.storage.database import Transaction

KEPT_MS = 7 * 24 * 3600 * 1000
PRUNED_AT_ONCE = 20


def put_relayed(txn: Transaction, event_id: str, now_ms: int) -> None:
    """Before the event is stored, so that whoever follows the stream knows. Some old ones make room."""
    txn.execute(
        "DELETE FROM relayed_events WHERE event_id IN (SELECT event_id FROM relayed_events"
        " WHERE received_ts < %s ORDER BY received_ts LIMIT %s FOR UPDATE SKIP LOCKED)",
        (now_ms - KEPT_MS, PRUNED_AT_ONCE),
    )
    txn.execute(
        "INSERT INTO relayed_events (event_id, received_ts) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (event_id, now_ms),
    )


def relayed_among(txn: Transaction, event_ids: Collection[str]) -> set[str]:
    rows = txn.rows("SELECT event_id FROM relayed_events WHERE event_id = ANY (%s)", (list(event_ids),))
    return {event_id for (event_id,) in rows}
