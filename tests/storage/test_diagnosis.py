"""Reads for someone who looks for what is wrong."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.diagnosis import (
    connection_name,
    read_connected,
    read_facts,
    read_foreign_tables,
    read_migrations,
    read_runner_names,
)
from synapse_lite.storage.migrate import available
from synapse_lite.storage.session import Session


@pytest.fixture
def session(database_arguments: dict[str, Any]) -> Iterator[Session]:
    with closing(Session(database_arguments, {})) as session:
        yield session


def test_the_facts_of_a_database(session: Session) -> None:
    """Version, encoding and clock are those of the server."""
    facts = session.read(read_facts)
    assert facts.major_version >= 14
    assert facts.version.startswith(str(facts.major_version))
    assert facts.encoding == "UTF8"
    assert abs(facts.clock_ms - time.time() * 1000) < 600_000


def test_migrations(session: Session, postgres: dict[str, Any]) -> None:
    """Those of a migrated database, and none of one that has not even their table."""
    assert session.read(read_migrations) == available()
    with closing(Session({**postgres, "dbname": "template1"}, {})) as empty:
        assert empty.read(read_migrations) == []
        assert empty.read(read_foreign_tables) == []


def test_names_of_runners(session: Session) -> None:
    """Each process that could ever run a task, with the last time that anything knew of it."""

    def write(txn: Transaction) -> None:
        txn.execute(
            "INSERT INTO task_runners (runner, name, started_at, expires_at) VALUES ('a#1', 'a', 1, 50)"
        )
        txn.execute(
            "INSERT INTO task_actions_seen (action, version, name, last_seen_at)"
            " VALUES ('x', 1, 'a', 40), ('y', 1, 'b', 70), ('z', 1, 'b', 60)"
        )

    session.transact(write)
    assert session.read(read_runner_names) == {"a": 50, "b": 70}


def test_who_is_connected(session: Session, database_arguments: dict[str, Any]) -> None:
    """By the names of connections; a name may be the beginning of another one, or longer than PostgreSQL shows."""
    long = "worker-" * 10
    names = ["push", "push_1", long, "absent"]
    assert session.read(read_connected, names) == set()
    with ExitStack() as stack:
        for name in ("push_1", long):
            there = Session(database_arguments, {"application_name": connection_name(name, "requests")})
            stack.enter_context(closing(there)).read(read_facts)
        assert session.read(read_connected, names) == {"push_1", long}
