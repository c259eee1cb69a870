"""How tasks are stored and claimed: the statements of the task engine, each on a real PostgreSQL."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import blockingCallFromThread

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, DatabaseError, Transaction, UniqueViolation
from synapse_lite.storage.tasks import Status
from tests.storage.task_rows import add, claim, claimed_lease, execute, expire, read, register


@ensureDeferred
async def test_a_task_is_stored_as_asked(database: Database) -> None:
    """Everything that was asked can be read back."""
    await add(database, "a", params='{"n": 1}', resource_id="@u:x", priority=3, run_at_ms=7)
    task = await read(database, "a")
    assert (task.status, task.params, task.resource_id, task.priority) == (
        Status.SCHEDULED,
        {"n": 1},
        "@u:x",
        3,
    )
    assert (task.timestamp_ms, task.requester, task.endpoint) == (7, "@admin:x", "POST /noop")
    assert await database.read(store.read_task, "none") is None


@ensureDeferred
async def test_a_pending_task_is_found_instead_of_a_second_one(database: Database) -> None:
    """One pending task per action and unique key; another action or key is another task."""
    assert await add(database, "a", unique_key="k") == "a"
    assert await add(database, "b", unique_key="k") == "a"
    assert await add(database, "c", unique_key="k2") == "c"
    assert await add(database, "d", unique_key="k", action="other") == "d"
    await execute(database, "UPDATE scheduled_tasks SET status = 'failed', finished_at = 1 WHERE id = 'a'")
    assert await add(database, "e", unique_key="k") == "e"


@ensureDeferred
async def test_claims_go_by_priority_then_age(database: Database) -> None:
    """The most urgent first, among those the oldest; what is not due is left alone."""
    await register(database)
    await add(database, "new", run_at_ms=200)
    await add(database, "old", run_at_ms=100)
    await add(database, "urgent", run_at_ms=300, priority=1)
    await add(database, "future", run_at_ms=2**50, priority=9)
    order = [await claim(database) for _ in range(4)]
    assert [claimed and claimed.lease.task_id for claimed in order] == ["urgent", "old", "new", None]


@ensureDeferred
async def test_an_unknown_action_at_the_head_blocks_nothing(database: Database) -> None:
    """A task of an action or version that the runner lacks is invisible to it, and stays as it is."""
    await register(database)
    await add(database, "x", action="unknown", priority=9)
    await add(database, "y", version=2, priority=9)
    await add(database, "z")
    assert (await claimed_lease(database)).task_id == "z"
    assert await claim(database) is None
    assert await database.transact(store.claim, "w#1", [], []) is None
    assert [(await read(database, task_id)).attempt for task_id in "xy"] == [0, 0]


@ensureDeferred
async def test_a_task_is_claimed_once(database: Database) -> None:
    """Many claims at the same moment share the tasks among them."""
    for number in range(8):
        await add(database, f"t{number}")
    runners = [await register(database, f"w#{number}") for number in range(12)]
    claims = await gatherResults([Deferred.fromCoroutine(claim(database, runner)) for runner in runners])
    ids = [claimed.lease.task_id for claimed in claims if claimed]
    # A claim that meets the lock of another steps over it and takes the next.
    assert len(ids) == len(set(ids)) == 8


@ensureDeferred
async def test_a_dead_or_unknown_runner_claims_nothing(database: Database) -> None:
    """Only a runner whose lease is alive by the clock of the database may claim."""
    await register(database)
    await add(database, "a")
    await expire(database, "w#1")
    assert await claim(database) is None
    assert await claim(database, "nobody#1") is None


@ensureDeferred
@pytest.mark.parametrize("gone", [expire, lambda db, runner: db.transact(store.remove_runner, runner)])
async def test_the_task_of_a_dead_runner_is_taken_over(
    database: Database, gone: Callable[[Database, str], Any]
) -> None:
    """A task whose owner expired or vanished is claimed by another runner, as one more attempt."""
    await register(database)
    await register(database, "v#1")
    await add(database, "a")
    await claimed_lease(database)
    assert await claim(database, "v#1") is None
    await gone(database, "w#1")
    claimed = await claim(database, "v#1")
    assert claimed is not None
    assert (claimed.rescued_from, claimed.attempt, claimed.lease.epoch) == ("w#1", 1, 2)
    assert (await read(database, "a")).owner == "v"


@ensureDeferred
async def test_a_takeover_steps_over_a_task_inside_a_step(database: Database) -> None:
    """While a step holds the fence, its task is not claimed even from an expired owner."""
    await register(database)
    await register(database, "v#1")
    await add(database, "a")
    lease = await claimed_lease(database)
    await expire(database, "w#1")
    entered: Deferred[None] = Deferred()
    leave: Deferred[None] = Deferred()

    def slow_step(txn: Transaction) -> None:
        store.fence(txn, lease)
        _call_on_reactor(database, entered.callback)
        _wait_in_thread(database, leave)

    step = Deferred.fromCoroutine(database.transact(slow_step))
    await entered
    assert await claim(database, "v#1") is None
    cancelled = await database.transact(store.request_cancel, "a")  # is not kept waiting
    assert cancelled is None
    leave.callback(None)
    await step
    assert await claim(database, "v#1") is not None


def _call_on_reactor(database: Database, function: Callable[[None], None]) -> None:
    database._reactor.callFromThread(function, None)


def _wait_in_thread(database: Database, signal: "Deferred[None]") -> None:
    blockingCallFromThread(database._reactor, lambda: signal)


@ensureDeferred
async def test_a_task_that_its_runner_lost_track_of_is_found_again(database: Database) -> None:
    """What a runner owns but does not run is claimed again; what it runs is not."""
    await register(database)
    await add(database, "a")
    await claimed_lease(database)
    assert await claim(database) is None
    assert await claim(database, forgotten=["a"]) is not None


@ensureDeferred
async def test_a_lock_key_is_held_by_one_active_task(database: Database) -> None:
    """A second task with the lock key waits, and does not keep others waiting."""
    await register(database)
    await add(database, "a", lock_key="room:1", priority=2)
    await add(database, "b", lock_key="room:1", priority=1)
    await add(database, "c", lock_key="room:2")
    first = await claimed_lease(database)
    assert (await claimed_lease(database)).task_id == "c"
    assert await claim(database) is None
    await database.transact(store.finish, first, Status.COMPLETE)
    assert (await claimed_lease(database)).task_id == "b"


@ensureDeferred
async def test_two_active_tasks_cannot_share_a_lock_key(database: Database) -> None:
    """The exclusion is an index: a claim that raced past the check fails."""
    await add(database, "a", lock_key="k")
    await add(database, "b", lock_key="k")
    with pytest.raises(UniqueViolation):
        await execute(database, "UPDATE scheduled_tasks SET status = 'active', owner = 'w#1'")


@ensureDeferred
@pytest.mark.parametrize(
    "change", ["owner = 'w#1'", "status = 'active'", "status = 'failed'", "finished_at = 1", "status = 'x'"]
)
async def test_impossible_rows_are_refused(database: Database, change: str) -> None:
    """Active means owned, ended means finished, and there are five statuses."""
    await add(database, "a")
    with pytest.raises(DatabaseError):
        await execute(database, f"UPDATE scheduled_tasks SET {change}")
