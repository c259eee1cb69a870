"""Rooms that everybody here has forgotten are purged, after the time that the configuration says."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage import rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.tasks import Status, Task
from synapse_lite.tasks.actions.forgotten_rooms import ForgottenRooms
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM
from tests.builders import ALICE, BOB, SERVER
from tests.tasks.steps import Steps

REMOTE = "@remote:elsewhere.test"
WEEK_MS = 7 * 24 * 3_600_000


async def forgotten(steps: Steps) -> Room:
    """Alice and Bob have left and forgotten it; somebody from elsewhere is still there."""

    def make(txn: Transaction) -> Room:
        room = steps.world.room(txn, ALICE, BOB, REMOTE)
        for user_id in (ALICE, BOB):
            steps.world.member(txn, room, user_id, user_id, "leave")
            rooms.forget(txn, room.nid, user_id)
        return room

    return await steps.do(make)


async def clean_up(steps: Steps) -> list[Task]:
    """Look at all rooms, two at a time; the purges that are pending then."""
    part = ForgottenRooms(steps.clock, SERVER, WEEK_MS)
    after: int | None = 0
    while after is not None:
        _, after = await steps.do(part.schedule_purges, after, 2)
    return (await steps.queue.find(actions=[PURGE_ROOM.action])).tasks


async def run_early(steps: Steps) -> None:
    """As if the time had come."""
    await steps.do(lambda txn: txn.execute("UPDATE scheduled_tasks SET run_at = 0"))
    await steps.go_on(PURGE_ROOM)


@ensureDeferred
async def test_forgotten_by_all(steps: Steps) -> None:
    """One purge, once, a week from now; rooms that somebody remembers are left alone."""
    others = [await steps.do(steps.world.room, ALICE, BOB) for _ in range(3)]
    await steps.do(steps.world.member, others[0], BOB, BOB, "leave")
    await steps.do(rooms.forget, others[0].nid, BOB)
    room = await forgotten(steps)
    (task,) = await clean_up(steps)
    assert await clean_up(steps) == [task]
    assert (task.resource_id, task.status) == (room.room_id, Status.SCHEDULED)
    assert WEEK_MS <= task.timestamp_ms - steps.clock.now_ms() + 100_000 <= WEEK_MS + 100_000
    await run_early(steps)
    assert (await steps.task(task.id)).status is Status.COMPLETE
    assert await steps.do(rooms.room_by_id, room.room_id) is None
    assert all([await steps.do(rooms.room_by_id, other.room_id) for other in others])


@ensureDeferred
async def test_remembered_again(steps: Steps) -> None:
    """Who comes back before the time keeps the room, even if they leave it again."""
    room = await forgotten(steps)
    (task,) = await clean_up(steps)
    for membership in ("join", "leave"):
        await steps.do(steps.world.member, room, BOB, BOB, membership)
    await run_early(steps)
    assert (await steps.task(task.id)).result == {"rows": {}}
    assert await steps.do(rooms.room_by_id, room.room_id) is not None
