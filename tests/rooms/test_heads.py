"""What is read of a room before it is locked."""

from pytest_twisted import ensureDeferred

from synapse_lite.matrix.auth_rules.state import POWER_LEVELS
from synapse_lite.rooms.heads import HeadReader
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.heads import lock_heads, read_head
from tests.builders import ALICE, BOB, World


@ensureDeferred
async def test_state_is_remembered_for_the_head_that_had_it(database: Database) -> None:
    """Also when the room has moved on between the two: nobody is judged by what came later, or what was before."""
    world = World()

    def run(txn: Transaction) -> tuple[dict[object, int], dict[object, int], dict[object, int], int]:
        room = world.room(txn, ALICE)
        head = read_head(txn, room.nid)
        assert head is not None
        later = world.send(txn, room, "m.room.power_levels", ALICE, {"users": {BOB: 50}}, state_key="")
        reader = HeadReader(world.events, world.state)
        before = reader.current(txn, head, [POWER_LEVELS])
        (locked,) = lock_heads(txn, [room.nid], even_closed=False)
        after = reader.current(txn, locked, [POWER_LEVELS])
        assert (head.snapshot_nid, head.is_locked) != (locked.snapshot_nid, locked.is_locked)
        return dict(before), dict(after), dict(reader.current(txn, head, [POWER_LEVELS])), later.nid

    before, after, again, later = await database.transact(run)
    assert before == again
    assert before[POWER_LEVELS] < later
    assert after == {POWER_LEVELS: later}
