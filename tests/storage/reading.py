"""How much a statement reads: rows of tables and entries of indexes, not time."""

from collections.abc import Callable
from typing import TypeVar

from synapse_lite.storage.database import Transaction

T = TypeVar("T")

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


def undone(txn: Transaction, run: Callable[[Transaction], T]) -> tuple[T, int]:
    """What it returns, and how many rows it reads. What it does is undone: the next one finds all rows."""
    txn.execute("SAVEPOINT beginning")
    before = rows_read(txn)
    result = run(txn)
    read = rows_read(txn) - before
    txn.execute("ROLLBACK TO SAVEPOINT beginning")
    return result, read
