"""What tests of several handlers share."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg2
import pytest
import pytest_twisted
from twisted.internet import reactor

from synapse_lite.storage.database import Database
from tests.conftest import TEMPLATE, execute
from tests.handlers.sync_server import SyncServer

NAME = "reused"


@pytest.fixture(scope="session")
def reused_database(postgres: dict[str, Any]) -> Iterator[Database]:
    """A database for many tests: emptying its tables takes a fiftieth of the time that a new one does."""
    execute(postgres, f"CREATE DATABASE {NAME} TEMPLATE {TEMPLATE}")
    database = Database(
        reactor, {**postgres, "dbname": NAME}, name=NAME, size=4, on_commit=lambda _: None, settings={}
    )
    database.start()
    yield database
    database.stop()


@pytest.fixture(scope="session")
def other_connections(reused_database: Database) -> Iterator[Database]:
    """To the same database, as a second process has them."""
    database = Database(
        reactor, reused_database._arguments, name="other", size=2, on_commit=lambda _: None, settings={}
    )
    database.start()
    yield database
    database.stop()


@pytest.fixture(scope="session")
def filled_tables(postgres: dict[str, Any]) -> list[str]:
    """The tables in which tests leave rows: those that are empty in a new database."""
    with psycopg2.connect(**{**postgres, "dbname": TEMPLATE}) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        names = [name for (name,) in cursor.fetchall()]
        tables = []
        for name in names:
            cursor.execute(f"SELECT EXISTS (SELECT FROM {name})")
            if cursor.fetchone() == (False,):
                tables.append(name)
    connection.close()
    return tables


@pytest_twisted.async_yield_fixture
async def server(reused_database: Database, filled_tables: list[str]) -> AsyncIterator[SyncServer]:
    """A started process, as far as /sync is concerned, without users and rooms."""
    emptying = "; ".join(f"DELETE FROM {name}" for name in filled_tables)
    await reused_database.transact(
        lambda txn: txn.execute(
            f"SET LOCAL session_replication_role = replica; {emptying}; UPDATE stream_position SET position = 0"
        )
    )
    started = SyncServer(reused_database)
    await started.start()
    yield started
    started.log.stop()
