"""Pushers of a large server: what the follower reads for one room."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.pushers import pushed_members
from tests.storage.reading import rows_read

USERS, ROOM_SIZE = 3_000, 10
READ = 10 * ROOM_SIZE
"""Rows of tables and entries of indexes: far from the pushers that there are."""


@pytest.mark.new_database
@ensureDeferred
async def test_pushers_of_other_rooms_are_not_read(database: Database) -> None:
    """Each user has one, and is in one of many rooms."""
    await database.transact(_fill)
    await database.transact(lambda txn: txn.execute("ANALYZE"))

    def read(txn: Transaction) -> int:
        before = rows_read(txn)
        members = pushed_members(txn, [2])
        assert members == {2: {f"@{number}:hs": number for number in range(20, 30)}}
        return rows_read(txn) - before

    assert await database.transact(read) <= READ


def _fill(txn: Transaction) -> None:
    numbers = f"generate_series(1, {USERS}) n"
    txn.execute(f"INSERT INTO users (user_id, created_ts) SELECT '@' || n || ':hs', 1 FROM {numbers}")
    txn.execute(
        "INSERT INTO rooms (room_nid, room_id, version, created_ts) OVERRIDING SYSTEM VALUE"
        f" SELECT n, '!' || n || ':hs', '12', 1 FROM generate_series(0, {USERS // ROOM_SIZE}) n"
    )
    txn.execute(
        "INSERT INTO memberships (user_id, room_nid, membership, sender, event_nid)"
        f" SELECT '@' || n || ':hs', n / {ROOM_SIZE}, 'join', '', n FROM {numbers}"
    )
    txn.execute(
        "INSERT INTO pushers (app_id, pushkey, user_id, kind, app_display_name, device_display_name, lang, data,"
        " enabled, created_ts, pushed_upto)"
        f" SELECT 'app', n::text, '@' || n || ':hs', 'http', '', '', 'en', '{{}}', TRUE, 1, n FROM {numbers}"
    )
