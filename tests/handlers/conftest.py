"""What tests of several handlers share."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_twisted
from twisted.internet import reactor

from synapse_lite.storage.database import Database
from tests.databases import ReusedDatabase
from tests.handlers.sync_server import SyncServer


@pytest.fixture(scope="session")
def connections(reused_database: ReusedDatabase) -> Iterator[Database]:
    """To the database of many tests."""
    yield from _connections(reused_database, "reused", 4)


@pytest.fixture(scope="session")
def other_connections(reused_database: ReusedDatabase) -> Iterator[Database]:
    """To the same database, as a second process has them."""
    yield from _connections(reused_database, "other", 2)


def _connections(reused: ReusedDatabase, name: str, size: int) -> Iterator[Database]:
    database = Database(reactor, reused.arguments, name=name, size=size, settings={})
    database.start()
    yield database
    database.stop()


@pytest_twisted.async_yield_fixture
async def server(connections: Database, reused_database: ReusedDatabase) -> AsyncIterator[SyncServer]:
    """A started process, as far as /sync is concerned, without users and rooms."""
    reused_database.empty()
    started = SyncServer(connections)
    await started.start()
    yield started
    started.log.stop()
