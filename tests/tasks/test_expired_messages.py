"""Expired messages are purged, room by room; what is younger, and all state, stays."""

from typing import Any

from attrs import evolve
from pytest_twisted import ensureDeferred

from synapse_lite.matrix.retention import LifetimeRange, RetentionPolicy
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import Kind
from synapse_lite.storage.tasks import Status, Task
from synapse_lite.tasks.actions.expired_messages import (
    PURGE_EXPIRED_MESSAGES,
    ExpiryParams,
    PurgeExpiredMessages,
    RetentionJob,
)
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistoryCursor, PurgeHistoryParams
from synapse_lite.tasks.outcome import Done, Next
from synapse_lite.tasks.queue import new_task
from synapse_lite.tasks.registry import TaskRegistry
from synapse_lite.tasks.specs import PERIODIC, TaskView
from tests.builders import ALICE, BOB, World
from tests.tasks.steps import ADMIN, Steps
from tests.tasks.test_purge_history import states

HOUR = 3_600_000
DAY = 24 * HOUR


async def room_of(steps: Steps, *ages: int, said: dict[str, Any] | None = None) -> Room:
    """With a message of each age (ms), the oldest first; `said` is its m.room.retention."""

    def make(txn: Transaction) -> Room:
        world = steps.world
        room = world.room(txn, ALICE, BOB)
        if said is not None:
            world.send(txn, room, "m.room.retention", ALICE, said, state_key="")
        txn.execute(
            "UPDATE events SET received_ts = %s WHERE room_nid = %s",
            (steps.clock.now_ms() - 1000 * DAY, room.nid),
        )
        for age in ages:
            sent = world.message(txn, room, BOB, f"{age}")
            txn.execute(
                "UPDATE events SET received_ts = %s WHERE event_nid = %s",
                (steps.clock.now_ms() - age, sent.nid),
            )
        return room

    return await steps.do(make)


async def clean_up(steps: Steps, policy: RetentionPolicy | None, batch: int = 2, **params: Any) -> list[Task]:
    """Run a job; the purges that are pending then because of this or an earlier run."""
    handler = PurgeExpiredMessages(steps.clock, policy)
    task = TaskView("id", ExpiryParams(**params), None, 0, None, 0, batch, PERIODIC)
    outcome = await steps.do(handler.step, task)
    while isinstance(outcome, Next):
        outcome = await steps.do(handler.step, evolve(task, cursor=outcome.cursor))
    assert isinstance(outcome, Done)
    found = await steps.queue.find(actions=[PURGE_HISTORY.action], statuses=[Status.SCHEDULED])
    return [task for task in found.tasks if task.requester == PERIODIC]


async def purge(steps: Steps, policy: RetentionPolicy, **params: Any) -> list[str]:
    """Run a job and its purges; the rooms that were purged."""
    tasks = await clean_up(steps, policy, **params)
    for _ in tasks:
        await steps.go_on(PURGE_HISTORY, batch=10)
    done = [await steps.task(task.id) for task in tasks]
    assert all((task.status, task.error) == (Status.COMPLETE, None) for task in done), done
    assert all(task.done == task.total for task in done), done
    return [task.resource_id or "" for task in done]


def messages(txn: Transaction, room: Room) -> list[str]:
    """The bodies of the messages that are stored, oldest first."""
    rows = txn.rows(
        "SELECT json::json #>> '{content,body}' FROM events WHERE room_nid = %s AND type = 'm.room.message'"
        " ORDER BY depth",
        (room.nid,),
    )
    return [body for (body,) in rows]


def kinds(txn: Transaction, room: Room) -> set[tuple[Kind, bool]]:
    """Of the stream's rows about the room's events: the kind, and whether the event is state."""
    rows = txn.rows(
        "SELECT DISTINCT s.kind, e.state_key IS NOT NULL FROM stream s JOIN events e USING (event_nid)"
        " WHERE s.room_nid = %s",
        (room.nid,),
    )
    return {(Kind(kind), is_state) for kind, is_state in rows}


@ensureDeferred
async def test_rooms_are_purged_by_their_own_lifetimes(steps: Steps) -> None:
    """What a room says counts before the default; a room without anything that old gets no task."""
    default = await room_of(steps, 30 * DAY, 8 * DAY, 6 * DAY, HOUR)
    own = await room_of(steps, 30 * DAY, 8 * DAY, 6 * DAY, HOUR, said={"max_lifetime": 20 * DAY})
    long = await room_of(steps, 30 * DAY, HOUR, said={"max_lifetime": 2000 * DAY})
    before = await steps.do(states, default)
    purged = await purge(steps, RetentionPolicy(7 * DAY))
    assert sorted(purged) == sorted([default.room_id, own.room_id])
    assert await steps.do(messages, default) == [f"{6 * DAY}", f"{HOUR}"]
    assert await steps.do(messages, own) == [f"{8 * DAY}", f"{6 * DAY}", f"{HOUR}"]
    assert len(await steps.do(messages, long)) == 2
    assert await steps.do(kinds, default) == {(Kind.KEPT, True), (Kind.EVENT, False)}
    after = await steps.do(states, default)
    assert after == {nid: before[nid] for nid in after}
    assert await purge(steps, RetentionPolicy(7 * DAY)) == []


@ensureDeferred
async def test_limits_of_the_server(steps: Steps) -> None:
    """Nothing goes before the least lifetime, nothing stays after the greatest."""
    short = await room_of(steps, 3 * DAY, 12 * HOUR, HOUR, said={"max_lifetime": HOUR})
    long = await room_of(steps, 90 * DAY, 3 * DAY, HOUR, said={"max_lifetime": 900 * DAY})
    silent = await room_of(steps, 90 * DAY, HOUR)
    await purge(steps, RetentionPolicy(None, least_ms=DAY, most_ms=30 * DAY))
    assert await steps.do(messages, short) == [f"{12 * HOUR}", f"{HOUR}"]
    assert await steps.do(messages, long) == [f"{3 * DAY}", f"{HOUR}"]
    assert len(await steps.do(messages, silent)) == 2


@ensureDeferred
async def test_a_job_looks_after_its_rooms_only(steps: Steps) -> None:
    """Each job takes the rooms whose lifetimes are in its range."""
    policy = RetentionPolicy()
    lives = (HOUR, 3 * DAY, 5 * DAY, 30 * DAY)
    rooms = [await room_of(steps, 90 * DAY, 0, said={"max_lifetime": life}) for life in lives]
    first = await purge(steps, policy, longest_ms=3 * DAY)
    assert {*first} == {rooms[0].room_id, rooms[1].room_id}  # of one moment, in any order
    assert await purge(steps, policy, shortest_ms=3 * DAY, longest_ms=7 * DAY) == [rooms[2].room_id]
    assert await purge(steps, policy, shortest_ms=7 * DAY) == [rooms[3].room_id]


@ensureDeferred
async def test_the_last_message_stays_until_another_follows(steps: Steps) -> None:
    """A room has an end to go on from. It is out of the pages, asks for no further purge, and goes with the next."""
    room = await room_of(steps, 30 * DAY, 20 * DAY)
    await purge(steps, RetentionPolicy(DAY))
    assert await steps.do(messages, room) == [f"{20 * DAY}"]
    assert await steps.do(kinds, room) == {(Kind.KEPT, True), (Kind.KEPT, False)}
    assert await clean_up(steps, RetentionPolicy(DAY)) == []
    await steps.do(World(steps.clock).message, room, BOB, "new")
    assert await clean_up(steps, RetentionPolicy(DAY)) == []
    await steps.do(lambda txn: txn.execute("UPDATE events SET received_ts = 1 WHERE depth > 6"))
    await steps.do(World(steps.clock).message, room, BOB, "newer")
    await purge(steps, RetentionPolicy(DAY))
    assert await steps.do(messages, room) == ["newer"]


@ensureDeferred
async def test_what_was_redacted_stays_so(steps: Steps) -> None:
    """The redaction of a message that stays, and of state, stays too, however old it is."""

    def make(txn: Transaction) -> Room:
        world = steps.world
        room = world.room(txn, ALICE, BOB)
        name = world.send(txn, room, "m.room.name", ALICE, {"name": "bad"}, state_key="")
        gone, last = world.message(txn, room, BOB, "gone"), world.message(txn, room, BOB, "last")
        for target in (name, gone):
            world.send(txn, room, "m.room.redaction", ALICE, {}, redacts=target.event.event_id)
        txn.execute("UPDATE events SET received_ts = 1 WHERE room_nid = %s", (room.nid,))
        world.send(txn, room, "m.room.redaction", ALICE, {}, redacts=last.event.event_id)
        return room

    room = await steps.do(make)
    await purge(steps, RetentionPolicy(DAY))
    assert await steps.do(messages, room) == []
    rows = "SELECT t.type FROM redactions r JOIN events t ON t.event_nid = r.target_nid WHERE r.applied"
    assert await steps.do(lambda txn: txn.rows(rows)) == [("m.room.name",)]


@ensureDeferred
async def test_one_pending_purge_for_a_room(steps: Steps) -> None:
    """A job that runs again before its purges did adds none; one that an admin asked for does not count."""
    room = await room_of(steps, 30 * DAY, HOUR)
    await steps.ask(PURGE_HISTORY, PurgeHistoryParams(room_id=room.room_id, depth=1))
    first = await clean_up(steps, RetentionPolicy(DAY))
    second = await clean_up(steps, RetentionPolicy(2 * DAY))
    assert len(first) == 1
    assert [task.id for task in second] == [task.id for task in first]


@ensureDeferred
async def test_switched_off(steps: Steps) -> None:
    """Without a policy a job that was left over does nothing, and none is made."""
    await room_of(steps, 30 * DAY, said={"max_lifetime": DAY})
    assert await clean_up(steps, None) == []
    assert PurgeExpiredMessages(steps.clock, None).periodic_tasks() == []


def test_jobs_are_periodic_tasks_of_their_own() -> None:
    """Each has its own period and its own lock key; the registry hands them to the scheduler."""
    jobs = (RetentionJob(LifetimeRange(None, DAY), HOUR), RetentionJob(LifetimeRange(DAY, None), DAY))
    registry = TaskRegistry()
    registry.register(PURGE_EXPIRED_MESSAGES, PurgeExpiredMessages(World().clock, RetentionPolicy(DAY), jobs))
    found = registry.periodic_tasks()
    assert [one.every_ms for _, one in found] == [HOUR, DAY]
    assert len({one.name for _, one in found}) == 2
    locks = {new_task(spec, one.params, requester="", endpoint="").lock_key for spec, one in found}
    assert len(locks) == 2


@ensureDeferred
async def test_a_purge_of_the_older_version_goes_on(steps: Steps) -> None:
    """A row that the release before wrote, in the middle of its work, is finished by this one."""
    room = await room_of(steps, 30 * DAY, 20 * DAY, HOUR)
    depth = await steps.do(lambda txn: txn.value("SELECT max(depth) FROM events"))
    new = new_task(PURGE_HISTORY, PurgeHistoryParams(room_id=room.room_id), requester=ADMIN, endpoint="test")
    old = '{"room_id": "%s", "depth": %d, "delete_local_events": true, "dry_run": false}'
    cursor = '{"phase": "events", "room_nid": %d, "after": [-1, 0], "after_snapshot": 0, "local": 0,'
    cursor += ' "remote": 0, "kept": 0, "freed": 0}'
    assert PurgeHistoryCursor(room_nid=1).phase == "count"

    def enqueue(txn: Transaction) -> None:
        store.enqueue(txn, evolve(new, version=1, params=old % (room.room_id, depth)))
        txn.execute("UPDATE scheduled_tasks SET cursor = %s WHERE id = %s", (cursor % room.nid, new.id))

    await steps.do(enqueue)
    claimed = await steps.do(store.claim, "w#1", [(PURGE_HISTORY.action, 1)], [])
    assert claimed is not None
    while isinstance(await steps.step(PURGE_HISTORY, claimed.lease), Next):
        pass
    assert (await steps.task(new.id)).status is Status.COMPLETE
    assert await steps.do(messages, room) == [f"{HOUR}"]
