"""Transactions of other servers that are done."""

from synapse_lite.canonical_json import JsonObject, decode_object, dump
from synapse_lite.storage.database import Transaction

PRUNED_AT_ONCE = 20


def find_answer(txn: Transaction, origin: str, txn_id: str) -> JsonObject | None:
    """What was answered; None for a new transaction."""
    json = txn.value(
        "SELECT answer FROM received_transactions WHERE origin = %s AND txn_id = %s", (origin, txn_id)
    )
    return None if json is None else decode_object(json)


def put_answer(
    txn: Transaction, origin: str, txn_id: str, answer: JsonObject, now_ms: int, *, kept_ms: int
) -> bool:
    """False when it was done meanwhile. Some of those whose time is over make room for it."""
    txn.later(
        "DELETE FROM received_transactions WHERE (origin, txn_id) IN ("
        " SELECT origin, txn_id FROM received_transactions WHERE received_ts <= %s"
        " ORDER BY received_ts LIMIT %s FOR UPDATE SKIP LOCKED)",
        (now_ms - kept_ms, PRUNED_AT_ONCE),
    )
    inserted = txn.execute(
        "INSERT INTO received_transactions (origin, txn_id, answer, received_ts) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (origin, txn_id, dump(answer).decode(), now_ms),
    )
    return inserted == 1
