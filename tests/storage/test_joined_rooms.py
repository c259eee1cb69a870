"""The rooms of many users, read by one statement."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.rooms import joined_rooms, joined_rooms_of
from tests.storage.reading import rows_read

ROOMS, USERS, ROOMS_EACH = 2_000, 1_000, 10


@pytest.mark.new_database
@pytest.mark.parametrize("analyzed", [False, True])
@ensureDeferred
async def test_the_rooms_of_many_are_those_of_each(database: Database, analyzed: bool) -> None:
    """With the position at which that is so; of users in no room too; and nobody else's memberships are read."""
    await database.transact(_fill)
    if analyzed:
        await database.transact(lambda txn: txn.execute("ANALYZE"))
    wanted = ["@u1:hs", "@u7:hs", "@nobody:hs"]

    def read(txn: Transaction) -> tuple[int, dict[str, dict[int, str]], int]:
        before = rows_read(txn)
        position, found = joined_rooms_of(txn, wanted)
        return position, found, rows_read(txn) - before

    position, found, count = await database.transact(read)
    assert position == await database.read(lambda txn: txn.value("SELECT position FROM stream_position"))
    for user_id in wanted:
        assert found[user_id] == await database.read(joined_rooms, user_id)
    assert [len(found[user_id]) for user_id in wanted] == [ROOMS_EACH - 1, ROOMS_EACH - 1, 0]
    assert count <= 8 * len(wanted) * ROOMS_EACH
    assert (await database.read(joined_rooms_of, []))[1] == {}


def _fill(txn: Transaction) -> None:
    """Each user has left one of their rooms."""
    txn.execute(
        "INSERT INTO rooms (room_nid, room_id, version, created_ts) OVERRIDING SYSTEM VALUE"
        f" SELECT n, '!' || n, '11', 1 FROM generate_series(0, {ROOMS - 1}) AS n"
    )
    txn.execute(
        "INSERT INTO memberships (user_id, room_nid, membership, sender, event_nid)"
        f" SELECT '@u' || u || ':hs', (u * 7 + n) % {ROOMS}, CASE n WHEN 0 THEN 'leave' ELSE 'join' END, '@a:hs', 1"
        f" FROM generate_series(1, {USERS}) AS u, generate_series(0, {ROOMS_EACH - 1}) AS n"
    )
