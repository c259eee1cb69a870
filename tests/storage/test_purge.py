"""The list of what belongs to a room, against the database's own catalogue and planner."""

from collections.abc import Callable

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage import purge
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.history_purge import (
    Candidates,
    clear_candidates,
    delete_events,
    free_candidates,
    hide_events,
    list_candidates,
    spare_used,
)
from synapse_lite.storage.purge import TABLES
from synapse_lite.storage.purge_boundary import Place, PurgeBoundary, count_past, read_past, read_unplaced
from tests.storage.reading import MESSAGE, undone
from tests.tasks.remains import MEMORY, Column, columns

OF_USERS = {"key_backup_sessions", "refresh_tokens"}
"""They name rooms, or replace each other, but are the user's own."""

PASSING = {"staged_events", "staged_rooms", "relayed_events", "sent_knocks", "joins_under_way"}
"""What waits for a room that is gone is dropped when its turn comes, within seconds; ids of what was handed on, in days."""


@ensureDeferred
async def test_every_table_about_rooms_is_purged(database: Database) -> None:
    """Whatever has a column for a room, an event or a snapshot is in the list, or follows what is."""
    listed = {table.name for table in TABLES} | {name for table in TABLES for name in table.dependents}
    found = await database.read(columns)
    about = {column.table for column in found if _is_about_rooms(column)}
    assert about - MEMORY - OF_USERS - PASSING == listed | {"rooms"}


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
        for dependent in table.dependents:
            assert {"event_nid"} <= {column.name for column in found if column.table == dependent}


ROWS = 20_000
SLICE = 1000
READ = 11 * SLICE
"""Rows of a slice, of what follows it, and of looks into other tables: far from `ROWS`."""

FILL = (
    "INSERT INTO rooms OVERRIDING SYSTEM VALUE SELECT 1, '!r:hs', '11', '@a:hs', 1",
    (
        "INSERT INTO events (event_nid, room_nid, event_id, type, sender, depth, origin_server_ts, received_ts,"
        f" before_nid, after_nid, json) SELECT n, 1, '$' || n, 'm.room.message', '@a:hs', n, 1, 1, n, n, '{MESSAGE}' FROM n"
    ),
    "INSERT INTO stream (position, kind, room_nid, event_nid) SELECT n, 1, 1, n FROM n",
    "INSERT INTO event_transactions SELECT 's', 1, 'send', n, n, NULL, 1 FROM n",
    "INSERT INTO redactions SELECT n, 1, '$' || n - 1, n - 1, TRUE FROM n",
    "INSERT INTO state_snapshots SELECT n, 1, 0, n, 0, '{}', '{}' FROM n",
    "INSERT INTO snapshot_candidates SELECT 1, 'task', n FROM n",
)
CANDIDATES = Candidates(1, "task")
BY_DEPTH = PurgeBoundary(1, "hs", depth=ROWS)
BY_POSITION = PurgeBoundary(1, "hs", position=ROWS)
AFTER: Place = (1, 1)  # a row near the start, in any order; among the passes by position, that of events
AFTER_KEYS = (*AFTER, 0)
LARGE = {
    table.name: (table, (1, "$0") if table.name == "redactions" else AFTER_KEYS[: len(table.keys)])
    for table in TABLES
    if table.name in {"stream", "redactions", "events", "state_snapshots"}
}


def _delete(name: str) -> Callable[[Transaction], object]:
    table, after = LARGE[name]
    return lambda txn: purge.delete_slice(txn, table, 1, after, SLICE, "hs")


def _count(name: str) -> Callable[[Transaction], object]:
    table, after = LARGE[name]
    return lambda txn: purge.count_slice(txn, table, 1, after, SLICE)


SLICES: dict[str, Callable[[Transaction], object]] = {
    **{f"delete {name}": _delete(name) for name in LARGE},
    **{f"count {name}": _count(name) for name in LARGE},
    "count past by depth": lambda txn: count_past(txn, BY_DEPTH, AFTER, SLICE),
    "count past by position": lambda txn: count_past(txn, BY_POSITION, AFTER, SLICE),
    "read past by depth": lambda txn: read_past(txn, BY_DEPTH, AFTER, SLICE),
    "read past by position": lambda txn: read_past(txn, BY_POSITION, AFTER, SLICE),
    "read unplaced": lambda txn: read_unplaced(txn, BY_POSITION, ROWS, AFTER, SLICE),
    "list candidates": lambda txn: list_candidates(txn, Candidates(1, "other"), 1, SLICE),
    "spare used": lambda txn: spare_used(txn, CANDIDATES, AFTER, SLICE),
    "free candidates": lambda txn: free_candidates(txn, CANDIDATES, SLICE),
    "clear candidates": lambda txn: clear_candidates(txn, 1, SLICE),
    "delete past": lambda txn: delete_events(txn, read_past(txn, BY_DEPTH, AFTER, SLICE).to_delete),
    "load events": lambda txn: EventStore(0).load(txn, range(1, SLICE)),
    # The last: rows that are changed are read, too, though it is undone.
    "hide past": lambda txn: hide_events(txn, read_past(txn, BY_DEPTH, AFTER, SLICE).to_delete),
}


@pytest.mark.new_database
@pytest.mark.parametrize("analyzed", [False, True])
@ensureDeferred
async def test_a_slice_does_not_read_what_is_left_of_the_room(database: Database, analyzed: bool) -> None:
    """Neither of tables that the planner knows, nor of those of which it knows nothing yet."""
    await database.transact(_fill)
    if analyzed:
        await database.transact(lambda txn: txn.execute("ANALYZE"))
    read = {name: (await database.transact(undone, run))[1] for name, run in SLICES.items()}
    assert {name: rows for name, rows in read.items() if not SLICE - 2 <= rows <= READ} == {}


def _fill(txn: Transaction) -> None:
    for statement in FILL:
        txn.execute(f"WITH n AS (SELECT n FROM generate_series(1, {ROWS}) n) {statement}")


def _is_about_rooms(column: Column) -> bool:
    name = column.name
    return (
        name in {"room_id", "event_id", "redacts"}
        or (name.endswith(("room_nid", "event_nid", "snapshot_nid", "event_nids", "snapshot_nids")))
        or name
        in {
            "base_nid",
            "before_nid",
            "after_nid",
            "point_nid",
            "replaces_nid",
            "previous_nid",
            "target_nid",
            "redacts_nid",
        }
    )
