"""The server of the tests of the admin API."""

from collections.abc import AsyncIterator

import pytest_twisted

from synapse_lite.storage.database import Database
from tests.rest.admin_server import AdminServer


@pytest_twisted.async_yield_fixture
async def server(database: Database) -> AsyncIterator[AdminServer]:
    """One with an administrator, whose tasks run when the test says so."""
    server = AdminServer(database)
    await server.start()
    yield server
    await server.stop()
