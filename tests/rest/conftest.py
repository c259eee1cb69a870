"""Servers for the tests of this directory."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest_twisted

from tests.connections import KeptDatabase
from tests.rest.office import Office, open_office
from tests.rest.web import Web
from tests.server import OPEN, TestServer

BuildServer = Callable[..., Awaitable[TestServer]]


@pytest_twisted.async_yield_fixture
async def build_server(database_arguments: dict[str, Any]) -> AsyncIterator[BuildServer]:
    """Starts servers from options, each with its own connections; they stop with the test."""
    servers: list[TestServer] = []

    async def build(**options: Any) -> TestServer:
        database = KeptDatabase(database_arguments)
        database.start()
        server = TestServer(database, **options)
        await server.start()
        servers.append(server)
        return server

    yield build
    for server in servers:
        await server.stop()
        server.database.stop()


@pytest_twisted.async_yield_fixture
async def server(build_server: BuildServer) -> AsyncIterator[TestServer]:
    """One on which anybody may register."""
    yield await build_server(**OPEN)


@pytest_twisted.async_yield_fixture
async def office(server: TestServer) -> AsyncIterator[Office]:
    """A server with an administrator, and nobody who runs tasks."""
    yield await open_office(server)


@pytest_twisted.async_yield_fixture
async def web() -> AsyncIterator[Web]:
    """Afterwards: not one connection to a denied address."""
    web = Web()
    yield web
    await web.origin.stop()
    await web.hidden.stop()
    assert web.hidden.connections == 0
