"""What a page of a large directory reads: about what it shows, wherever it begins."""

from collections.abc import Callable

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.public_rooms import DirectoryPlace, DirectorySearch, list_public
from tests.storage.reading import rows_read

ROOMS = 10_000
LIMIT = 100
READ = 8 * LIMIT
"""Of each room its rows in three tables, and their entries in indexes: far from `ROOMS`."""

FILL = (
    (
        "INSERT INTO rooms (room_nid, room_id, version, created_ts, is_public) OVERRIDING SYSTEM VALUE"
        f" SELECT n, '!' || n, '11', 1, TRUE FROM generate_series(1, {ROOMS}) AS n"
    ),
    (
        "INSERT INTO room_summary (room_nid, name, join_rule, joined)"
        " SELECT room_nid, 'Room ' || room_nid, 'public', 1 + room_nid % 50 FROM rooms"
    ),
    (
        "INSERT INTO room_directory (room_nid, joined, listed, federates, body, list)"
        " SELECT room_nid, joined, TRUE, TRUE, lower(name), list FROM room_summary"
        " CROSS JOIN unnest(CASE WHEN room_nid % 4 = 0 THEN ARRAY['', 'irc|a'] WHEN room_nid % 4 = 1 THEN ARRAY['*', 'irc|b']"
        " ELSE ARRAY[''] END) AS shows (list)"
    ),
)
MIDDLE = DirectoryPlace(25, ROOMS // 2)
PAGES: dict[str, Callable[[Transaction], object]] = {
    "first": lambda txn: list_public(txn, DirectorySearch(), None, LIMIT),
    "next": lambda txn: list_public(txn, DirectorySearch(), MIDDLE, LIMIT),
    "before": lambda txn: list_public(txn, DirectorySearch(), DirectoryPlace(25, 1, backwards=True), LIMIT),
    "searched": lambda txn: list_public(txn, DirectorySearch("ROOM"), MIDDLE, LIMIT),
    "untyped": lambda txn: list_public(txn, DirectorySearch(room_types=[None]), None, LIMIT),
    "of a network": lambda txn: list_public(txn, DirectorySearch(lists=["irc|b"]), MIDDLE, LIMIT),
    "of all networks": lambda txn: list_public(txn, DirectorySearch(lists=["", "*"]), MIDDLE, LIMIT),
    "federated": lambda txn: list_public(txn, DirectorySearch(federated=True), None, LIMIT),
}


@pytest.mark.new_database
@ensureDeferred
async def test_a_page_reads_its_rooms_only(database: Database) -> None:
    def fill(txn: Transaction) -> None:
        for statement in FILL:
            txn.execute(statement)
        txn.execute("ANALYZE")

    def read(txn: Transaction, page: Callable[[Transaction], object]) -> int:
        before = rows_read(txn)
        assert page(txn)
        return rows_read(txn) - before

    await database.transact(fill)
    read_by = {name: await database.transact(read, page) for name, page in PAGES.items()}
    assert {name: count for name, count in read_by.items() if count > READ} == {}
