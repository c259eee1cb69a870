"""A database that is away for a while, full, or out of connections."""

import logging
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.outage import PATIENCE_SECONDS, DatabaseUnavailableError, Outage
from synapse_lite.storage.pool import Pool
from tests.databases import execute
from tests.http.memory import ManualClock

REASON = psycopg2.OperationalError("connection refused")


def told(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def test_an_outage_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line when it begins, however many find it out, and one when it is over."""
    caplog.set_level(logging.INFO)
    clock = ManualClock()
    outage = Outage(clock.reactor.seconds)
    for _ in range(3):
        outage.begin(REASON)
    clock.advance(7)
    outage.end()
    outage.end()
    assert told(caplog, logging.INFO) == [
        "the database is not available: connection refused",
        "the database is available again, after 7.0 s",
    ]


def test_during_an_outage_one_caller_a_second_tries() -> None:
    """The others neither wait for a connection that cannot come nor keep the network busy."""
    clock = ManualClock()
    outage = Outage(clock.reactor.seconds)
    assert outage.may_try()
    assert outage.may_try()
    outage.begin(REASON)
    assert [outage.may_try() for _ in range(3)] == [True, False, False]
    clock.advance(1)
    assert [outage.may_try() for _ in range(2)] == [True, False]
    assert outage.seconds_left(PATIENCE_SECONDS) == PATIENCE_SECONDS - 1
    clock.advance(PATIENCE_SECONDS)
    assert outage.seconds_left(PATIENCE_SECONDS) < 0


def test_a_pool_fails_at_once_when_an_outage_has_lasted() -> None:
    """The patience is counted from the beginning of the outage, not from each call."""
    clock = ManualClock()
    outage = Outage(clock.reactor.seconds)
    outage.begin(REASON)
    clock.advance(PATIENCE_SECONDS)
    pool = Pool({"host": "/nowhere", "dbname": "x"}, "", outage)
    with pytest.raises(DatabaseUnavailableError, match="/nowhere"):
        pool.acquire()


@pytest.fixture
def few(database_arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Connection arguments of a user who may have one connection only."""
    execute(database_arguments, "DROP ROLE IF EXISTS few; CREATE ROLE few LOGIN CONNECTION LIMIT 1")
    yield {**database_arguments, "user": "few"}
    execute(database_arguments, "DROP ROLE few")


@ensureDeferred
async def test_without_a_free_connection_one_waits_for_that_of_another(few: dict[str, Any]) -> None:
    """PostgreSQL refuses more connections than one: the statements follow each other, and none fails."""
    database = Database(reactor, few, name="few", size=3, settings={})
    database.start()

    def slow(txn: Transaction) -> int:
        return txn.value("SELECT pg_backend_pid() FROM pg_sleep(0.2)")

    pids = await gatherResults([Deferred.fromCoroutine(database.read(slow)) for _ in range(3)])
    database.stop()
    assert len(set(pids)) == 1


@ensureDeferred
async def test_a_full_disk_is_no_fault_of_the_request(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller learns that it may try again, also out of a batch; one line tells of many failures."""

    def fail(txn: Transaction) -> None:
        txn.execute("DO $$ BEGIN RAISE 'no space left on device' USING ERRCODE = '53100'; END $$")

    for function in (fail, fail, lambda txn: txn.attempt(fail)):
        with pytest.raises(DatabaseUnavailableError, match="no space left"):
            await database.transact(function)
    assert len(told(caplog, logging.WARNING)) == 1
    assert await database.read(lambda txn: txn.value("SELECT 7")) == 7


@ensureDeferred
async def test_who_waits_for_too_long_may_try_again(
    database: Database, database_arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A wait for a row ends with the time of a statement: nothing was done, and one of a batch stops no other."""
    impatient = Database(
        reactor, database_arguments, name="impatient", size=1, settings={"statement_timeout": "50ms"}
    )
    impatient.start()
    change = "UPDATE stream_position SET position = position"

    def wait(txn: Transaction) -> None:
        txn.execute(change)

    with closing(psycopg2.connect(**database_arguments)) as holder:
        holder.cursor().execute(change)
        with pytest.raises(DatabaseUnavailableError, match="statement timeout"):
            await impatient.transact(wait)
        failure, other = await impatient.transact(lambda txn: (txn.attempt(wait), txn.value("SELECT 7")))
    assert isinstance(failure, DatabaseUnavailableError)
    assert other == 7
    assert len(told(caplog, logging.WARNING)) == 1
    impatient.stop()
