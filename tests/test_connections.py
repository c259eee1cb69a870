"""Connections that outlive a test carry nothing into the next."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import DatabaseError, Transaction
from synapse_lite.storage.prepared import Prepared
from tests.connections import KeptDatabase
from tests.databases import execute

ONE = Prepared("one_of_a_test", "SELECT %s::int")
LEFT_BEHIND = (
    "SET statement_timeout = 12345",
    "CREATE TEMPORARY TABLE users (user_id text)",
    "LISTEN left_behind",
    "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
    "SELECT pg_advisory_lock(1)",
    "SELECT nextval('left_behind')",
    "SET ROLE pg_monitor",
)
FOUND = """
    SELECT current_setting('statement_timeout'),
           (SELECT relpersistence FROM pg_class WHERE oid = 'users'::regclass),
           array(SELECT pg_listening_channels()),
           array(SELECT name FROM pg_cursors WHERE is_holdable),
           array(SELECT name FROM pg_prepared_statements),
           (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
           current_user
"""
BACKEND = "SELECT pg_backend_pid()"


async def ask(arguments: dict[str, Any], function: Callable[[Transaction], Any]) -> Any:
    """As a test of its own."""
    database = KeptDatabase(arguments, size=1)
    try:
        return await database.read(function)
    finally:
        database.stop()


def leave_behind(txn: Transaction) -> Any:
    for statement in LEFT_BEHIND:
        txn.execute(statement)
    assert txn.value(ONE, (1,)) == 1
    return txn.row(FOUND)


def look(txn: Transaction) -> Any:
    return txn.value(BACKEND), *(txn.row(FOUND) or ())


@pytest.mark.new_database
@ensureDeferred
async def test_nothing_is_left_behind(database_arguments: dict[str, Any]) -> None:
    execute(database_arguments, "CREATE SEQUENCE left_behind")
    before = await ask(database_arguments, look)
    assert before[1:] == ("0", "p", [], [], [], 0, "postgres")
    assert await ask(database_arguments, leave_behind) == (
        "12345ms", "t", ["left_behind"], ["left_behind"], ["one_of_a_test"], 1, "pg_monitor",
    )  # fmt: skip
    assert await ask(database_arguments, look) == before
    with pytest.raises(DatabaseError, match="currval"):
        await ask(database_arguments, lambda txn: txn.value("SELECT currval('left_behind')"))
    assert await ask(database_arguments, lambda txn: txn.value(ONE, (1,))) == 1


@ensureDeferred
async def test_what_a_test_has_ended_is_opened_anew(database_arguments: dict[str, Any]) -> None:
    backend = await ask(database_arguments, lambda txn: txn.value(BACKEND))
    execute(database_arguments, f"SELECT pg_terminate_backend({backend}, 5000)")
    assert await ask(database_arguments, lambda txn: txn.value(BACKEND)) != backend
