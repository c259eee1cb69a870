"""Small writes that share a commit, on a real PostgreSQL."""

from collections.abc import Iterator
from threading import Event
from typing import Any

import psycopg2
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.threads import deferToThread

from synapse_lite.errors import MatrixError, forbidden
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import Kind
from synapse_lite.storage.writer import MAX_BATCH, Writer


@pytest.fixture
def commits() -> list[list[str | None]]:
    """Whose changes were committed together."""
    return []


@pytest.fixture
def shared(database_arguments: dict[str, Any], commits: list[list[str | None]]) -> Iterator[Database]:
    def note(changes: Any) -> None:
        commits.append([change.user_id for change in changes])

    pool = Database(reactor, database_arguments, name="shared", size=1, settings={})
    pool.on_commit(note)
    pool.start()
    yield pool
    pool.stop()


@pytest.fixture
def writer(shared: Database, database: Database) -> Writer:
    return Writer(shared, database)


def put(txn: Transaction, user: str) -> str:
    txn.execute("INSERT INTO typing VALUES (1, %s, 1)", (user,))
    txn.publish(Kind.SESSION, user_id=user)
    return user


def refuse(txn: Transaction, user: str) -> str:
    put(txn, user)
    raise forbidden("not you")


def refuse_at_once(txn: Transaction, user: str) -> str:
    txn.insert("INSERT INTO typing VALUES %s", [(1, user, 1)])
    txn.publish(Kind.SESSION, user_id=user)
    raise forbidden("not you")


def fail_late(txn: Transaction, user: str) -> str:
    """The statement that fails is sent with the next one."""
    put(txn, user)
    txn.later("SELECT 1 / 0")
    return user


async def stored(database: Database) -> list[str]:
    return [
        user for (user,) in await database.read(lambda txn: txn.rows("SELECT user_id FROM typing ORDER BY 1"))
    ]


def together(*coroutines: Any) -> "list[Deferred[Any]]":
    return [Deferred.fromCoroutine(coroutine) for coroutine in coroutines]


@ensureDeferred
async def test_what_waits_shares_a_commit(writer: Writer, commits: list[list[str | None]]) -> None:
    """The first write goes alone; what came meanwhile goes together, each with its own result."""
    users = [f"@{n}:x" for n in range(MAX_BATCH)]
    assert await gatherResults(together(*(writer.submit(put, user) for user in users))) == users
    assert commits == [users[:1], users[1:]]


@ensureDeferred
async def test_a_refused_write_undoes_nothing_else(
    writer: Writer, database: Database, commits: list[list[str | None]]
) -> None:
    """Whatever one of them raises, wherever: the others are stored and published, it is not."""
    first, *rest = together(
        writer.submit(put, "@first:x"),
        writer.submit(put, "@a:x"),
        writer.submit(refuse, "@no1:x"),
        writer.submit(put, "@b:x"),
        writer.submit(refuse_at_once, "@no2:x"),
        writer.submit(fail_late, "@no3:x"),
        writer.submit(put, "@c:x"),
    )
    await first
    a, no1, b, no2, no3, c = rest
    assert [await a, await b, await c] == ["@a:x", "@b:x", "@c:x"]
    for refused in (no1, no2):
        with pytest.raises(MatrixError, match="not you"):
            await refused
    with pytest.raises(psycopg2.errors.DivisionByZero):
        await no3
    assert await stored(database) == ["@a:x", "@b:x", "@c:x", "@first:x"]
    assert commits == [["@first:x"], ["@a:x", "@b:x", "@c:x"]]


@ensureDeferred
async def test_writes_of_which_none_is_refused_share_a_savepoint(
    writer: Writer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts, attempt = [], Transaction.attempt

    def counted(txn: Transaction, function: Any) -> Any:
        attempts.append(function)
        return attempt(txn, function)

    monkeypatch.setattr(Transaction, "attempt", counted)
    users = [f"@{n}:x" for n in range(5)]
    assert await gatherResults(together(*(writer.submit(put, user) for user in users))) == users
    assert len(attempts) == 2  # the first goes alone
    assert await stored(database) == users


@ensureDeferred
async def test_a_failure_as_the_first_of_a_batch(writer: Writer, database: Database) -> None:
    """Also the savepoint that goes to the server together with BEGIN holds."""
    failing, fine = together(writer.submit(fail_late, "@no:x"), writer.submit(put, "@a:x"))
    with pytest.raises(psycopg2.errors.DivisionByZero):
        await failing
    assert await fine == "@a:x"
    assert await stored(database) == ["@a:x"]


@ensureDeferred
async def test_who_waits_for_a_lock_leaves_the_batch(
    writer: Writer, database: Database, database_arguments: dict[str, Any]
) -> None:
    """A write to a row that somebody holds keeps no other one waiting, and is done when it is free."""
    await database.transact(put, "@held:x")
    holder = psycopg2.connect(**database_arguments)
    holder.cursor().execute("SELECT FROM typing WHERE user_id = '@held:x' FOR UPDATE")

    def touch(txn: Transaction) -> int:
        return txn.execute("UPDATE typing SET expires_ts = 2 WHERE user_id = '@held:x'")

    waiting, other = together(writer.submit(touch), writer.submit(put, "@other:x"))
    assert await other == "@other:x"
    assert not waiting.called
    holder.commit()
    assert await waiting == 1
    holder.close()


@ensureDeferred
async def test_a_deadlock_is_run_again(writer: Writer, database: Database) -> None:
    """What makes a transaction start again makes all of its writes start again."""
    runs = []

    def sometimes(txn: Transaction) -> str:
        runs.append(1)
        if len(runs) < 3:
            txn.execute("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40P01'; END $$")
        return "done"

    _, again, other = together(
        writer.submit(put, "@first:x"), writer.submit(sometimes), writer.submit(put, "@a:x")
    )
    assert [await again, await other, len(runs)] == ["done", "@a:x", 3]
    assert await stored(database) == ["@a:x", "@first:x"]


@ensureDeferred
async def test_a_broken_connection_fails_nobody(writer: Writer, database: Database) -> None:
    """A connection that breaks in the middle of a batch: everything is done once, on another one."""
    pids = []

    def break_once(txn: Transaction) -> str:
        pids.append(txn.value("SELECT pg_backend_pid()"))
        if len(pids) == 1:
            txn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return "done"

    _, broken, other = together(
        writer.submit(put, "@first:x"), writer.submit(break_once), writer.submit(put, "@a:x")
    )
    assert [await broken, await other] == ["done", "@a:x"]
    assert len(set(pids)) == 2
    assert await stored(database) == ["@a:x", "@first:x"]


@ensureDeferred
async def test_who_does_not_wait_for_the_result_disturbs_nobody(writer: Writer, database: Database) -> None:
    """A cancelled write may be stored or not; the ones beside it are."""
    may_go = Event()
    first, gone, other = together(
        writer.submit(lambda txn: may_go.wait(300) and put(txn, "@first:x")),
        writer.submit(put, "@gone:x"),
        writer.submit(put, "@other:x"),
    )
    gone.cancel()
    with pytest.raises(CancelledError):
        await gone
    await deferToThread(may_go.set)
    assert [await first, await other] == ["@first:x", "@other:x"]
    assert {"@first:x", "@other:x"} <= set(await stored(database))
