"""The list of what belongs to a room, against the database's own catalogue and planner."""

import json

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage import purge
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.purge import TABLES
from tests.tasks.remains import MEMORY, Column, columns


@ensureDeferred
async def test_every_table_about_rooms_is_purged(database: Database) -> None:
    """Whatever has a column for a room, an event or a snapshot is in the list, or follows what is."""
    listed = {table.name for table in TABLES} | {name for table in TABLES for name in table.followers}
    found = await database.read(columns)
    about = {column.table for column in found if _is_about_rooms(column)}
    assert about - MEMORY == listed | {"rooms"}


@ensureDeferred
async def test_every_table_can_be_walked(database: Database) -> None:
    """The keys of each table are columns of its own, and together tell its rows within a room apart."""
    found = await database.read(columns)
    unique = await database.read(
        lambda txn: txn.rows(
            "SELECT c.relname, array_agg(a.attname::text) FROM pg_index i"
            " JOIN pg_class c ON c.oid = i.indrelid JOIN pg_attribute a ON a.attrelid = c.oid"
            " AND a.attnum = ANY(i.indkey) WHERE i.indisunique AND i.indpred IS NULL GROUP BY i.indexrelid, c.relname"
        )
    )
    for table in TABLES:
        names = {column.name for column in found if column.table == table.name}
        assert {"room_nid", *table.keys} <= names
        assert any(name == table.name and set(key) <= {"room_nid", *table.keys} for name, key in unique), (
            table
        )
        for follower in table.followers:
            assert {"event_nid"} <= {column.name for column in found if column.table == follower}


FILL = {
    "stream": "INSERT INTO stream (position, kind, room_nid) SELECT n, 0, 1 FROM generate_series(1, 20000) n",
    "state_snapshots": "INSERT INTO state_snapshots SELECT n, 1, 0, n, '{}', '{}' FROM generate_series(1, 20000) n",
}


@pytest.mark.parametrize("name", FILL)
@ensureDeferred
async def test_a_slice_does_not_sort_what_is_left_of_the_room(database: Database, name: str) -> None:
    """Also of a table of which the planner knows nothing yet."""
    table = next(table for table in TABLES if table.name == name)

    def delete_and_explain(txn: Transaction) -> str:
        txn.execute(FILL[name])
        found = purge.delete_slice(txn, table, 1, (), 100, "hs")
        assert found.rows[name] == 100
        text, arguments = purge._select(table, "ctid", 1, found.last or (), 100)
        return json.dumps(txn.value(f"EXPLAIN (FORMAT JSON) {text}", arguments))

    plan = await database.transact(delete_and_explain)
    assert '"Index Scan"' in plan
    assert '"Sort"' not in plan


def _is_about_rooms(column: Column) -> bool:
    name = column.name
    return (
        name in {"room_id", "event_id", "redacts"}
        or (name.endswith(("room_nid", "event_nid", "snapshot_nid", "event_nids", "snapshot_nids")))
        or name in {"base_nid", "before_nid", "after_nid", "replaces_nid", "target_nid", "redacts_nid"}
    )
