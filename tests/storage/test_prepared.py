"""Statements that a connection plans once."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database, DatabaseError, Transaction
from synapse_lite.storage.prepared import Prepared

SUM = Prepared("sum_of_two", "SELECT %s::bigint + %s")
QUOTIENT = Prepared("quotient", "SELECT 1 / %s")


def _prepared(txn: Transaction) -> list[tuple[str, int]]:
    return txn.rows("SELECT name, generic_plans + custom_plans FROM pg_prepared_statements ORDER BY name")


@ensureDeferred
async def test_prepared_once_a_connection(database: Database) -> None:
    """Also when the first transaction to use it fails, and again on the connection that takes the place of another."""

    def add(txn: Transaction) -> list[tuple[str, int]]:
        assert [txn.value(SUM, (one, 2)) for one in (1, 3)] == [3, 5]
        assert txn.row(SUM, (-1, 1)) == (0,)
        return _prepared(txn)

    def break_off(txn: Transaction) -> None:
        txn.value(QUOTIENT, (0,))

    def break_connection(txn: Transaction) -> None:
        txn.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    assert ("sum_of_two", 3) in await database.transact(add)
    assert ("sum_of_two", 6) in await database.read(add)
    for _ in range(2):
        with pytest.raises(DatabaseError):
            await database.transact(break_off)
    assert await database.snapshot(lambda txn: txn.value(QUOTIENT, (1,))) == 1
    with pytest.raises(Exception, match="terminat"):
        await database.transact(break_connection)
    assert ("sum_of_two", 3) in await database.transact(add)
