"""Statistics of rooms and users, on the events of a real room."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.room_closure import close_room
from synapse_lite.storage.statistics import count_events, largest_rooms
from synapse_lite.storage.stream import Change
from synapse_lite.tasks.actions.statistics import STATISTICS, Statistics
from synapse_lite.tasks.followers import Shard
from tests.builders import ALICE, BOB, World

ONE = Shard(0, 1)
_DUE = """
SELECT count(*), count(state_key), count(*) FILTER (WHERE type = 'm.room.message'), sum(octet_length(json)),
    max(received_ts) FROM events WHERE room_nid = %s
"""


@ensureDeferred
async def test_events_are_counted_by_room_and_sender(database: Database, changes: list[Change]) -> None:
    """All events of the stream, in however many batches; the rooms by their size."""
    world = World()

    def write(txn: Transaction) -> tuple[int, int]:
        small = world.room(txn, ALICE, BOB)
        large = world.room(txn, BOB)
        for number in range(5):
            world.message(txn, large, BOB, "x" * 100 * number)
        return small.nid, large.nid

    nids = await database.transact(write)
    events = [change for change in changes if change.kind in STATISTICS.kinds]
    await database.transact(Statistics().follow, events[:4], ONE)
    await database.transact(Statistics().follow, events[4:], ONE)

    def check(txn: Transaction) -> None:
        for nid in nids:
            found = txn.row(
                "SELECT events, state_events, messages, bytes, last_event_ts FROM room_stats WHERE room_nid = %s",
                (nid,),
            )
            assert found == txn.row(_DUE, (nid,))
        assert txn.rows(
            "SELECT user_id, events, messages, bytes FROM user_stats ORDER BY user_id"
        ) == txn.rows(
            "SELECT sender, count(*), count(*) FILTER (WHERE type = 'm.room.message'), sum(octet_length(json))"
            " FROM events GROUP BY sender ORDER BY sender"
        )
        ids = dict(txn.rows("SELECT room_nid, room_id FROM rooms"))
        assert [size.room_id for size in largest_rooms(txn, 9)] == [ids[nids[1]], ids[nids[0]]]
        assert len(largest_rooms(txn, 1)) == 1

    await database.read(check)


@ensureDeferred
async def test_a_room_that_goes_is_counted_no_more(database: Database) -> None:
    """Neither while it is being purged nor when it is gone: nothing comes back. Its senders have written all the same."""
    world = World()
    rooms = [await database.transact(world.room) for _ in range(3)]
    nids = await database.read(lambda txn: [nid for (nid,) in txn.rows("SELECT event_nid FROM events")])
    await database.transact(close_room, rooms[0].nid, 1)
    await database.transact(lambda txn: txn.execute("DELETE FROM memberships"))
    await database.transact(lambda txn: txn.execute("DELETE FROM rooms WHERE room_nid = %s", (rooms[1].nid,)))
    await database.transact(count_events, nids)
    counted = await database.read(lambda txn: txn.rows("SELECT room_nid FROM room_stats"))
    assert counted == [(rooms[2].nid,)]
    assert await database.read(lambda txn: txn.value("SELECT events FROM user_stats")) == len(nids)
