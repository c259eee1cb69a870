"""Transactions, snapshots and the stream on a real PostgreSQL."""

from threading import Event
from typing import Any

import psycopg2
import pytest
from psycopg2 import extensions
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import Change, Kind, read_changes, read_position


def _publish(txn: Transaction, user: str, count: int = 1) -> None:
    for _ in range(count):
        txn.publish(Kind.SESSION, user_id=user)


@ensureDeferred
async def test_positions_follow_the_commits(database: Database, changes: list[Change]) -> None:
    """Each published change gets the next position, and the commit hook sees what is stored."""
    await database.transact(_publish, "@a:x", 2)
    await database.transact(_publish, "@b:x")
    assert [(change.position, change.user_id) for change in changes] == [
        (1, "@a:x"),
        (2, "@a:x"),
        (3, "@b:x"),
    ]
    assert await database.read(lambda txn: read_changes(txn, 0, 10)) == changes


@ensureDeferred
async def test_concurrent_writers_leave_no_gaps(database: Database, changes: list[Change]) -> None:
    """Positions of many transactions at once are 1..n."""
    await gatherResults(
        [Deferred.fromCoroutine(database.transact(_publish, f"@{n}:x", 3)) for n in range(20)]
    )
    assert sorted(change.position for change in changes) == list(range(1, 61))


@ensureDeferred
async def test_a_failed_transaction_leaves_nothing(database: Database, changes: list[Change]) -> None:
    """An exception rolls back the writes and the stream."""

    def fail(txn: Transaction) -> None:
        txn.execute("INSERT INTO typing VALUES (1, 'x', 1)")
        _publish(txn, "@a:x")
        raise ValueError

    with pytest.raises(ValueError):
        await database.transact(fail)
    assert changes == []
    assert await database.read(lambda txn: txn.value("SELECT count(*) FROM typing")) == 0
    assert await database.read(read_position) == 0


@ensureDeferred
async def test_a_serialisation_failure_is_retried(database: Database) -> None:
    """A transaction that fails with 40001 is run again from the start."""
    runs = []

    def sometimes(txn: Transaction) -> str:
        runs.append(1)
        if len(runs) < 3:
            txn.execute("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$")
        return "done"

    assert await database.transact(sometimes) == "done"
    assert len(runs) == 3


@ensureDeferred
async def test_a_lost_connection_is_replaced(database: Database) -> None:
    """A connection that the server closed is not an error of the next caller."""
    pid = await database.read(lambda txn: txn.value("SELECT pg_backend_pid()"))
    await database.transact(lambda txn: txn.execute("SELECT 1"))

    def terminate(arguments: dict[str, object]) -> None:
        connection = psycopg2.connect(**arguments)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        connection.close()

    terminate(database._arguments)
    assert await database.transact(lambda txn: txn.value("SELECT 7")) == 7


@ensureDeferred
async def test_a_snapshot_refuses_writes(database: Database) -> None:
    """`snapshot` is read only, and leaves the connection usable."""
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        await database.snapshot(lambda txn: txn.execute("INSERT INTO typing VALUES (1, 'x', 1)"))
    assert await database.snapshot(lambda txn: txn.value("SELECT 7")) == 7


@ensureDeferred
async def test_nobody_waits_for_the_end_of_a_snapshot(database_arguments: dict[str, Any]) -> None:
    """The result is there before the transaction is rolled back; errors come as from any other."""
    has_result, waited = Event(), []

    class Cursor(extensions.cursor):
        def execute(self, query: Any, arguments: Any = None) -> None:
            if query == "ROLLBACK":
                waited.append(has_result.wait(10))
            super().execute(query, arguments)

    arguments = {**database_arguments, "cursor_factory": Cursor}
    database = Database(reactor, arguments, name="test", size=1, on_commit=lambda _: None, settings={})
    database.start()
    assert await database.snapshot(lambda txn: txn.value("SELECT 7")) == 7
    has_result.set()
    with pytest.raises(ZeroDivisionError):
        await database.snapshot(lambda txn: txn.value("SELECT 7") / 0)
    database.stop()
    assert waited == [True, True]
