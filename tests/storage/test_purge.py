"""The list of what belongs to a room, against the database's own catalogue."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database
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


def _is_about_rooms(column: Column) -> bool:
    name = column.name
    return (
        name in {"room_id", "event_id", "redacts"}
        or (name.endswith(("room_nid", "event_nid", "snapshot_nid", "event_nids", "snapshot_nids")))
        or name in {"base_nid", "before_nid", "after_nid", "replaces_nid", "target_nid", "redacts_nid"}
    )
