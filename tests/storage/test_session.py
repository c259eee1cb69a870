"""The connection of a thread of its own."""

from typing import Any

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.session import Session


def test_statements_of_their_own_and_of_one_transaction(database_arguments: dict[str, Any]) -> None:
    """`read` asks for no transaction around its statements, which would take two more round trips."""

    def transactions(txn: Transaction) -> set[int]:
        return {txn.value("SELECT pg_current_xact_id()::text::bigint") for _ in range(2)}

    session = Session(database_arguments, {})
    try:
        assert len(session.read(transactions)) == 2
        assert len(session.transact(transactions)) == 1
        assert len(session.read(transactions)) == 2
    finally:
        session.close()
