"""What has expired: rows of the stream that tell nobody anything any more, requests that nobody makes again."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage import expiry
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.event_transactions import ClientRequest, find_sent, insert_sent
from synapse_lite.storage.stream import Kind

ROOM, OTHER = 1, 2
STREAM = [
    (1, Kind.RECEIPT, ROOM, "@a:x"),
    (2, Kind.RECEIPT, OTHER, "@a:x"),
    (3, Kind.TYPING, ROOM, None),
    (4, Kind.SESSION, None, "@a:x"),
    (5, Kind.EVENT, ROOM, None),
    (6, Kind.ACCOUNT_DATA, None, "@a:x"),
    (7, Kind.RECEIPT, ROOM, "@a:x"),
    (8, Kind.RECEIPT, ROOM, "@b:x"),
    (9, Kind.TYPING, ROOM, None),
]


def fill(txn: Transaction) -> None:
    txn.insert("INSERT INTO stream (position, kind, room_nid, user_id) VALUES %s", STREAM)
    txn.execute("UPDATE stream_position SET position = 9")


async def positions(database: Database) -> list[int]:
    rows = await database.read(lambda txn: txn.rows("SELECT position FROM stream ORDER BY position"))
    return [position for (position,) in rows]


@ensureDeferred
async def test_superseded_rows_go(database: Database) -> None:
    """Typing and sessions, and all receipts but the last of a user in a room; up to the position."""
    await database.transact(fill)
    deleted, after = await database.transact(expiry.trim_stream, 0, 8, 2)
    assert (deleted, after) == (1, 2)
    deleted, after = await database.transact(expiry.trim_stream, 2, 8, 100)
    assert (deleted, after) == (2, None)
    assert await positions(database) == [2, 5, 6, 7, 8, 9]
    assert await database.transact(expiry.trim_stream, 0, 8, 100) == (0, None)


@ensureDeferred
async def test_what_changed_last_stays(database: Database) -> None:
    """Of each type of account data, of each receipt: a client that was away for long hears of all of them."""
    keys = ["m.tag", "m.direct", "m.tag"]

    def publish(txn: Transaction) -> None:
        for key in keys:
            txn.publish(Kind.ACCOUNT_DATA, user_id="@a:x", key=key)

    await database.transact(publish)
    assert await database.transact(expiry.trim_stream, 0, 3, 100) == (1, None)
    assert await positions(database) == [2, 3]


@ensureDeferred
async def test_marks_tell_the_age_of_rows(database: Database) -> None:
    """Nothing counts as old before the first mark is; marks that are not needed any more go."""
    await database.transact(fill)
    await database.transact(expiry.mark_stream, 1000)
    assert await database.transact(expiry.position_before, 1000) == 0
    assert await database.transact(expiry.position_before, 1001) == 9
    await database.transact(lambda txn: txn.execute("UPDATE stream_position SET position = 20"))
    await database.transact(expiry.mark_stream, 2000)
    await database.transact(expiry.mark_stream, 3000)
    assert await database.transact(expiry.position_before, 2500) == 20
    marks = await database.read(lambda txn: txn.rows("SELECT at FROM stream_marks ORDER BY at"))
    assert marks == [(2000,), (3000,)]


@ensureDeferred
async def test_a_transaction_id_of_two_endpoints(database: Database) -> None:
    """The request that is old is forgotten; that of the other endpoint is not, which may be made again."""
    old = ClientRequest("session", "send/m.room.message", "1")
    new = ClientRequest("session", "redact/$event", "1")
    await database.transact(insert_sent, [((ROOM, old), 7)], 1000)
    await database.transact(insert_sent, [((ROOM, new), 8)], 2000)
    assert await database.transact(expiry.delete_old_transactions, 2000, 100) == 1
    found = await database.read(find_sent, [(ROOM, old), (ROOM, new)])
    assert found == {(ROOM, new): (8, None)}
