"""Rows that are added unless they are here."""

from collections.abc import Sequence

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.statements import Row


def add_new(
    txn: Transaction, table: str, columns: str, rows: Sequence[Sequence[object]], returning: str = "1"
) -> list[Row]:
    """`returning` of those that were not here before. Of those that another row of the same statement forbids the first comes."""
    return txn.fetch_values(
        f"INSERT INTO {table} ({columns}) VALUES %s ON CONFLICT DO NOTHING RETURNING {returning}", rows
    )
