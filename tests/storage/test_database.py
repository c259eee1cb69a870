"""Transactions, snapshots and the stream on a real PostgreSQL."""

from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Any

import psycopg2
import pytest
from psycopg2 import extensions
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.errors import MatrixError, UnavailableError
from synapse_lite.storage.bulk import PIECE_BYTES
from synapse_lite.storage.database import CommitUncertainError, Database, Transaction
from synapse_lite.storage.stream import Change, Kind, Position, read_changes, read_position


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
async def test_what_clients_see_is_on_the_disk(database: Database) -> None:
    """A relaxed commit does not wait for the disk, but one that gave out positions does: nobody gets them twice."""
    setting = "SELECT current_setting('synchronous_commit')"

    def work(txn: Transaction, user: str | None) -> tuple[str, str]:
        txn.relax()
        first = txn.value(setting)
        if user is not None:
            _publish(txn, user)
            txn.flush()
        return first, txn.value(setting)

    assert await database.transact(work, None) == ("off", "off")
    assert await database.transact(work, "@a:x") == ("off", "on")
    assert await database.read(lambda txn: txn.value(setting)) == "on"


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
async def test_a_lost_connection_is_replaced(database: Database, database_arguments: dict[str, Any]) -> None:
    """A connection that the server closed is not an error of the next caller."""
    pid = await database.read(lambda txn: txn.value("SELECT pg_backend_pid()"))
    await database.transact(lambda txn: txn.execute("SELECT 1"))

    def terminate(arguments: dict[str, Any]) -> None:
        connection = psycopg2.connect(**arguments)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        connection.close()

    terminate(database_arguments)
    assert await database.transact(lambda txn: txn.value("SELECT 7")) == 7


def _publish_seven(txn: Transaction) -> int:
    _publish(txn, "@a:x")
    return int(txn.value("SELECT 7"))


@pytest.mark.parametrize(
    "error", [psycopg2.OperationalError, psycopg2.DatabaseError, psycopg2.InterfaceError]
)
@pytest.mark.parametrize("breaks_at", ["SELECT 7", "COMMIT"])
@pytest.mark.parametrize("work", [lambda txn: txn.value("SELECT 7"), _publish_seven])
@ensureDeferred
async def test_a_connection_breaks(
    database_arguments: dict[str, Any],
    work: Callable[[Transaction], int],
    breaks_at: str,
    error: type[Exception],
) -> None:
    """Whatever psycopg2 calls it: nothing was done and it is tried again; but nobody knows after a commit, and nothing is."""
    broken: list[str] = []

    class Cursor(extensions.cursor):
        def execute(self, query: Any, arguments: Any = None) -> None:
            text = query.decode() if isinstance(query, bytes) else query
            if breaks_at in text and not broken:
                broken.append(text)
                if error is not psycopg2.DatabaseError:  # as psycopg2 does
                    self.connection.close()
                raise error("server closed the connection unexpectedly")
            super().execute(query, arguments)

    arguments = {**database_arguments, "cursor_factory": Cursor}
    database = Database(reactor, arguments, name="test", size=1, settings={})
    database.start()
    try:
        asking = database.transact(work)
        if breaks_at == "COMMIT":
            with pytest.raises(CommitUncertainError):
                await asking
        else:
            assert await asking == 7
        assert await database.read(lambda txn: txn.value("SELECT 8")) == 8
    finally:
        database.stop()
    assert len(broken) == 1


@pytest.mark.parametrize(("place", "stored"), [("before", 0), ("after", 1)])
@ensureDeferred
async def test_an_operator_cancels_a_commit(
    database: Database, monkeypatch: pytest.MonkeyPatch, place: str, stored: int
) -> None:
    """PostgreSQL tells of it with the next statement, which may be the one behind the COMMIT: then it was done."""
    cancel = "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)"
    if place == "after":
        monkeypatch.setattr("synapse_lite.storage.database.READ_BEFORE", cancel)

    def work(txn: Transaction) -> None:
        _publish(txn, "@a:x")
        if place == "before":
            txn.later(cancel)

    with pytest.raises(UnavailableError) as raised:
        await database.transact(work)
    assert isinstance(raised.value, CommitUncertainError) == bool(stored)
    assert len(await database.read(lambda txn: read_changes(txn, 0, 10))) == stored


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
                waited.append(has_result.wait(300))
            super().execute(query, arguments)

    arguments = {**database_arguments, "cursor_factory": Cursor}
    database = Database(reactor, arguments, name="test", size=1, settings={})
    database.start()
    assert await database.snapshot(lambda txn: txn.value("SELECT 7")) == 7
    has_result.set()
    with pytest.raises(ZeroDivisionError):
        await database.snapshot(lambda txn: txn.value("SELECT 7") / 0)
    database.stop()
    assert waited == [True, True]


@pytest.mark.parametrize("by_number", [True, False])
@ensureDeferred
async def test_rows_carry_the_position_of_their_change(
    database: Database, changes: list[Change], by_number: bool
) -> None:
    """What is stored at a position is there when the position is announced, and gone with a rollback."""

    def store(at: int, txn: Transaction, position: Position) -> None:
        assert isinstance(position, int) is by_number
        txn.insert_row("INSERT INTO stream_marks (at, position) VALUES %s", (at, position))

    def publish(txn: Transaction) -> None:
        for at, device_id in ((10, "A"), (20, "B")):
            txn.publish(
                Kind.TO_DEVICE,
                user_id="@u:x",
                device_id=device_id,
                at_position=partial(store, at),
                by_number=by_number,
            )

    def fail(txn: Transaction) -> None:
        publish(txn)
        txn.execute("SELECT 1 / 0")

    with pytest.raises(psycopg2.DataError):
        await database.transact(fail)
    await database.transact(publish)
    rows = await database.read(
        lambda txn: txn.rows(
            "SELECT at, s.position, device_id FROM stream_marks JOIN stream s USING (position) ORDER BY at"
        )
    )
    assert rows == [(10, 1, "A"), (20, 2, "B")]
    assert [(change.position, change.device_id) for change in changes] == [(1, "A"), (2, "B")]


_COPIED_TEXTS = ["", "plain", "a\tb", "a\nb\r", "\\N", "\\.", "\\", "\\\\t", "'\"", "\x7f\u2028", "日本語 🎉"]
_COPIED_TEXTS += ["x" * PIECE_BYTES, *["y" * 1000] * 100]


@ensureDeferred
async def test_texts_are_copied_as_they_are(database: Database) -> None:
    """Whatever is in them, and in what all rows have in common; in several pieces, or none at all."""

    def copy(txn: Transaction) -> list[tuple[object, ...]]:
        columns = "number TEXT, text TEXT, common TEXT, position BIGINT"
        txn.later(f"CREATE TEMPORARY TABLE copies ({columns}) ON COMMIT DROP")
        rows = ((text, str(number)) for number, text in enumerate(_COPIED_TEXTS))
        txn.copy_texts("copies (text, number, position, common)", rows, (2**63 - 1, "é\t"))
        txn.copy_texts("copies (text, position)", (), (1,))
        return txn.rows("SELECT number::int, text, position, common FROM copies ORDER BY 1")

    copied = [(number, text, 2**63 - 1, "é\t") for number, text in enumerate(_COPIED_TEXTS)]
    assert await database.transact(copy) == copied


@ensureDeferred
async def test_rows_are_copied_as_they_are(database: Database) -> None:
    """Whatever is in them, after what waited to be sent; all of them or none."""

    def copy(txn: Transaction) -> list[tuple[object, ...]]:
        txn.later("CREATE TEMPORARY TABLE copies (number INT, text TEXT, absent INT) ON COMMIT DROP")
        rows = ((text, str(number), None) for number, text in enumerate(_COPIED_TEXTS))
        txn.copy("copies (text, number, absent)", rows)
        txn.copy("copies (text, number)", ((text, str(-1)) for text in ["a\tb", "plain"]))
        txn.copy("copies (text, number)", ())
        return txn.rows("SELECT number, text, absent FROM copies ORDER BY number, text")

    copied = [(number, text, None) for number, text in enumerate(_COPIED_TEXTS)]
    assert await database.transact(copy) == [(-1, "a\tb", None), (-1, "plain", None), *copied]

    def copy_wrong(txn: Transaction) -> tuple[object, list[tuple[object, ...]]]:
        txn.later("CREATE TEMPORARY TABLE copies (number INT) ON COMMIT DROP")
        failed = txn.attempt(lambda inner: inner.copy("copies", [("1",), ("two",)]))
        return failed, txn.rows("SELECT * FROM copies")

    failed, left = await database.transact(copy_wrong)
    assert isinstance(failed, Exception)
    assert left == []


@pytest.mark.parametrize(
    ("sql", "value"),
    [("SELECT %s::text", "a\0b"), ("SELECT %s::int", 10**30), ("SELECT %s::jsonb", '"\\u0000"')],
)
@ensureDeferred
async def test_values_that_cannot_be_stored_are_the_fault_of_their_sender(
    database: Database, sql: str, value: object
) -> None:
    """Whatever a check has let through is refused at the transaction, and the pool goes on."""
    with pytest.raises(MatrixError) as caught:
        await database.transact(lambda txn: txn.value(sql, (value,)))
    assert (caught.value.status, caught.value.errcode) == (400, "M_INVALID_PARAM")
    assert await database.transact(lambda txn: txn.value("SELECT 1")) == 1
