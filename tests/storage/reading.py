"""How much a statement reads: rows of tables and entries of indexes, not time."""

from synapse_lite.storage.database import Transaction

MESSAGE = (
    '{"type": "m.room.message", "sender": "@a:hs", "content": {}, "depth": 1, "origin_server_ts": 1,'
    ' "prev_events": [], "auth_events": []}'
)
"""The least that is read as the JSON of an event."""


def rows_read(txn: Transaction) -> int:
    """By this transaction, of all tables and indexes."""
    return int(
        txn.value(
            "SELECT sum(pg_stat_get_xact_tuples_returned(oid)) FROM pg_class"
            " WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace"
        )
    )
