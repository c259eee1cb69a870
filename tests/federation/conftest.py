"""A server of ours on a network of the test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import pytest
import pytest_twisted

from synapse_lite.matrix.signing import generate_signing_key
from tests.builders import SERVER
from tests.connections import KeptDatabase
from tests.databases import ReusedDatabase
from tests.federation.network import Network, Scripted
from tests.server import OPEN, TestServer

OTHER = "other.test"
JoinNetwork = Callable[..., Awaitable[TestServer]]


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def other(network: Network) -> Scripted:
    return network.scripted(OTHER)


@pytest.fixture
def more_databases(further_databases: Callable[[int], ReusedDatabase]) -> Iterator[dict[str, Any]]:
    """Connection arguments of empty databases, besides the first one."""

    def each() -> Iterator[dict[str, Any]]:
        for number in count():
            database = further_databases(number)
            database.empty()
            yield database.arguments

    return each()


@pytest_twisted.async_yield_fixture
async def join_network(
    network: Network, database_arguments: dict[str, Any], more_databases: Iterator[dict[str, Any]]
) -> AsyncIterator[JoinNetwork]:
    """Starts servers of ours by name, each with a database of its own."""
    servers: list[TestServer] = []

    async def start(name: str = SERVER, **options: Any) -> TestServer:
        arguments = next(more_databases) if servers else database_arguments
        database = KeptDatabase(arguments, name=name)
        database.start()
        key = generate_signing_key(name)
        options = {**OPEN, "trusted_key_servers": [], "server_name": name, **options}
        server = TestServer(database, peers=network.peers(key), signing_key=key, **options)
        await server.start()
        network.servers[name] = server
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()
        server.database.stop()


@pytest_twisted.async_yield_fixture
async def server(join_network: JoinNetwork) -> AsyncIterator[TestServer]:
    yield await join_network()
