"""Shutting down and purging rooms: everything goes, whatever happens on the way, and nothing else does."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel
from pytest_twisted import ensureDeferred

from synapse_lite.errors import MatrixError
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.room_closure import blocked_by
from synapse_lite.storage.tasks import Status
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM, PurgeRoomParams
from synapse_lite.tasks.actions.shutdown_room import (
    KICKED,
    NEW_ROOM,
    ShutdownParams,
)
from synapse_lite.tasks.lease import Cancelled
from synapse_lite.tasks.outcome import Next
from synapse_lite.tasks.specs import TaskSpec
from tests.builders import ALICE, BOB, MALLORY, SERVER
from tests.handlers.house import House, alice, bob, mallory, refusal
from tests.tasks.remains import contents, remains, traces
from tests.tasks.shutting_down import SHUTDOWN, furnished, replacement, shut_down
from tests.tasks.steps import ADMIN, Crash, Steps

versions = pytest.mark.parametrize("version", ["10", "12"])


# Everything goes


@versions
@ensureDeferred
async def test_nothing_is_left_of_the_room_and_all_of_others(steps: Steps, version: str) -> None:
    """No row of any table names the room, its events or its snapshots; another room has not changed at all."""
    room, other = await furnished(steps, version), await furnished(steps, version)
    gone, before = await steps.do(traces, room), await steps.do(contents, other)
    assert len(before) == len(await steps.do(contents, room)) == 22
    task = await shut_down(steps, room)
    assert (task.status, task.error) == (Status.COMPLETE, None)
    assert await steps.do(remains, gone) == {}
    assert await steps.do(contents, other) == before
    assert task.result is not None
    assert task.result["rows"]["events"] == len(gone.event_ids) + 2  # two leaves


@versions
@ensureDeferred
async def test_interrupted_in_every_step(steps: Steps, version: str) -> None:
    """A process that dies in any step leaves nothing done twice, and nothing undone."""
    room, other = await furnished(steps, version, messages=30), await furnished(steps, version)
    gone, before = await steps.do(traces, room), await steps.do(contents, other)
    task_id = await steps.ask(SHUTDOWN, ShutdownParams(room_id=room.room_id, new_room=replacement(version)))
    lease = await steps.claim(SHUTDOWN)
    count = 0
    outcome: Any = None
    while count == 0 or isinstance(outcome, Next):
        with pytest.raises(Crash):
            await steps.step(SHUTDOWN, lease, 10, crash=True)
        outcome = await steps.step(SHUTDOWN, lease, 10)
        count += 1
    task = await steps.task(task_id)
    assert count > 15
    assert task.status is Status.COMPLETE
    assert await steps.items(task_id, KICKED) == [ALICE, BOB]
    assert len(await steps.items(task_id, NEW_ROOM)) == 1
    assert await steps.do(remains, gone) == {}
    assert await steps.do(contents, other) == before


@pytest.mark.parametrize(
    ("spec", "options"), [(SHUTDOWN, ShutdownParams), (PURGE_ROOM, partial(PurgeRoomParams, force=True))]
)
@ensureDeferred
async def test_the_total_grows_while_it_is_counted(
    steps: Steps, spec: TaskSpec[Any, Any], options: Callable[..., BaseModel]
) -> None:
    """Whoever looks on sees that counting goes on."""
    room = await furnished(steps, messages=50)
    totals = await steps.totals(spec, options(room_id=room.room_id))
    assert len(totals) > 3
    assert totals == sorted(set(totals))


@ensureDeferred
async def test_progress_ends_at_its_total(steps: Steps) -> None:
    """The total counts rows and members, and in the end the rows of the leaves too."""
    room = await furnished(steps, messages=50)
    task = await shut_down(steps, room, batch=10)
    assert task.total is not None
    assert task.result is not None
    assert task.done == task.total
    assert sum(task.result["rows"].values()) == task.done - 2


@ensureDeferred
async def test_a_dry_run_changes_nothing_and_counts_all(steps: Steps) -> None:
    """The counts are those of the purge, but for its own leaves."""
    room = await furnished(steps, messages=30)
    before = await steps.do(contents, room)
    dry = await shut_down(steps, room, batch=10, dry_run=True, block=True)
    assert dry.result is not None
    assert await steps.do(contents, room) == before
    assert await steps.do(blocked_by, room.room_id) is None
    assert (dry.result["dry_run"], dry.result["members"]) == (True, 2)
    real = await shut_down(steps, room)
    assert real.result is not None
    for leaves in ("events", "stream", "state_snapshots", "state_deltas"):
        dry.result["rows"][leaves] += 2
    dry.result["rows"]["stream"] += 2  # that the room is hidden from those who left
    assert dry.result["rows"] == real.result["rows"]


# Cancelled, and tried again


@ensureDeferred
async def test_cancelled_in_any_step_and_deleted_again(steps: Steps) -> None:
    """Before rows are deleted the room goes on; later it stays closed. A second request finishes either."""
    reopened = closed = 0
    for number in range(40):
        room = await furnished(steps, messages=10)
        gone = await steps.do(traces, room)
        task_id = await steps.ask(SHUTDOWN, ShutdownParams(room_id=room.room_id))
        lease = await steps.claim(SHUTDOWN)
        outcome: Any = Next
        for _ in range(number + 1):
            outcome = await steps.step(SHUTDOWN, lease, 10)
        if not isinstance(outcome, Next):
            break
        phase = (await steps.task(task_id)).phase
        await steps.queue.cancel(task_id)
        assert isinstance(await steps.step(SHUTDOWN, lease), Cancelled)
        result = await steps.do(
            steps.world.try_send, room, "m.room.member", MALLORY, {"membership": "join"}, state_key=MALLORY
        )
        if phase == "purge":
            closed += 1
            assert isinstance(result, MatrixError)
        else:
            reopened += 1
            assert not isinstance(result, MatrixError)
        again = await shut_down(steps, room)
        assert again.status is Status.COMPLETE
        assert await steps.do(remains, gone) == {}
    assert reopened > 1
    assert closed > 1


@ensureDeferred
async def test_tried_again_after_a_cancel(steps: Steps) -> None:
    """Who came in while the room was open again is led out too."""
    room = await furnished(steps)
    gone = await steps.do(traces, room)
    task_id = await steps.ask(SHUTDOWN, ShutdownParams(room_id=room.room_id))
    lease = await steps.claim(SHUTDOWN)
    while (await steps.task(task_id)).phase != "aliases":
        await steps.step(SHUTDOWN, lease, 50)
    await steps.queue.cancel(task_id)
    await steps.step(SHUTDOWN, lease)
    await steps.do(steps.world.member, room, ALICE, ALICE, "join")
    await steps.do(
        lambda txn: txn.execute(
            "UPDATE scheduled_tasks SET status = 'scheduled', finished_at = NULL, cancel_requested_at = NULL"
        )
    )
    await steps.go_on(SHUTDOWN)
    assert (await steps.task(task_id)).status is Status.COMPLETE
    assert await steps.do(remains, gone) == {}


# Remainders


@pytest.mark.parametrize(
    "missing", ["events", "stream", "state_snapshots", "current_state", "memberships", "extremities", "all"]
)
@ensureDeferred
async def test_fragments_of_a_room(steps: Steps, missing: str) -> None:
    """Whatever is missing of a room, the rest of it goes."""
    room = await furnished(steps)
    gone = await steps.do(traces, room)

    def damage(txn: Transaction) -> None:
        if missing == "extremities":
            txn.execute("UPDATE rooms SET extremities = '{}'")
            return
        tables = [missing] if missing != "all" else ["events", "stream", "current_state", "memberships"]
        if "events" in tables:  # one never goes without the other
            tables.append("event_transactions")
        for table in tables:
            txn.execute(f"DELETE FROM {table} WHERE room_nid = %s", (room.nid,))

    await steps.do(damage)
    task = await shut_down(steps, room)
    assert (task.status, task.error) == (Status.COMPLETE, None)
    assert await steps.do(remains, gone) == {}


# Writers


@ensureDeferred
async def test_writers_are_refused_and_leave_nothing(steps: Steps, database: Database) -> None:
    """Between any two steps, on another process: clean errors, and no row."""
    house = House(database)
    room = await furnished(steps)
    gone = await steps.do(traces, room)
    assert await house.say(room.room_id, bob)  # the room is cached there
    gone = await steps.do(traces, room)
    await steps.ask(SHUTDOWN, ShutdownParams(room_id=room.room_id))
    lease = await steps.claim(SHUTDOWN)
    number = 0
    while isinstance(await steps.step(SHUTDOWN, lease, 10), Next):
        number += 1
        for attempt in (
            house.say(room.room_id, bob, txn_id=f"x{number}"),
            house.memberships.join(mallory, room.room_id),
            house.memberships.invite(alice, room.room_id, MALLORY, None),
            house.aliases.add(alice, f"#late{number}:{SERVER}", room.room_id),
        ):
            status, _ = await refusal(attempt)
            assert status in {400, 403, 404}
    assert number > 5
    assert await steps.do(remains, gone) == {}
    assert (await steps.do(contents, room)).keys() == {"purged_rooms", "stream"}


@ensureDeferred
async def test_a_blocked_room(steps: Steps, database: Database) -> None:
    """Nobody comes in; who is in may speak, change their profile, and leave."""
    house = House(database)
    room_id = await house.room(alice)
    await house.memberships.join(bob, room_id)
    await steps.do(lambda txn: txn.execute("INSERT INTO blocked_rooms VALUES (%s, %s)", (room_id, ADMIN)))
    for attempt in (
        house.memberships.join(mallory, room_id),
        house.memberships.invite(alice, room_id, MALLORY, None),
        house.memberships.knock(mallory, room_id, None),
    ):
        with pytest.raises(MatrixError) as caught:
            await attempt
        assert (caught.value.status, caught.value.errcode) == (403, "M_FORBIDDEN")
        assert str(caught.value) == "This room has been blocked on this server"
    await house.say(room_id, bob)
    await house.memberships.join(bob, room_id, {"displayname": "Bob"})
    await house.memberships.leave(bob, room_id, None)
