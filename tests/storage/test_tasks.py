"""The statements of the task engine, each on a real PostgreSQL."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import blockingCallFromThread

from synapse_lite.errors import MatrixError
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, DatabaseError, Transaction, UniqueViolation
from synapse_lite.storage.tasks import (
    Claimed,
    Lease,
    LeaseLostError,
    NewTask,
    Status,
    Task,
    TaskFilter,
    TaskItem,
)

NOOP = ("noop", 1)
TTL_MS = 3_600_000


def new_task(task_id: str, **changes: Any) -> NewTask:
    task = NewTask(
        id=task_id,
        action="noop",
        version=1,
        params="{}",
        requester="@admin:x",
        endpoint="POST /noop",
        resource_id=None,
        unique_key=None,
        lock_key=None,
        priority=0,
        max_attempts=3,
        run_at_ms=None,
    )
    return evolve(task, **changes)


async def add(database: Database, task_id: str, **changes: Any) -> str:
    return await database.transact(store.enqueue, new_task(task_id, **changes))


async def register(database: Database, runner: str = "w#1", *capabilities: store.Capability) -> str:
    name = runner.partition("#")[0]
    await database.transact(store.register_runner, runner, name, capabilities or (NOOP,), TTL_MS)
    return runner


async def expire(database: Database, runner: str) -> None:
    await execute(database, "UPDATE task_runners SET expires_at = now_ms() - 1 WHERE runner = %s", runner)


async def execute(database: Database, sql: str, *arguments: object) -> None:
    await database.transact(lambda txn: txn.execute(sql, arguments))


async def claim(database: Database, runner: str = "w#1", *, forgotten: Sequence[str] = ()) -> Claimed | None:
    """The next task for a runner that remembers what it runs, but for `forgotten`."""

    def claim_in(txn: Transaction) -> Claimed | None:
        owned = txn.rows("SELECT id FROM scheduled_tasks WHERE owner = %s", (runner,))
        running = {task_id for (task_id,) in owned} - {*forgotten}
        return store.claim(txn, runner, [NOOP], running)

    return await database.transact(claim_in)


async def claimed_lease(database: Database, runner: str = "w#1") -> Lease:
    claimed = await claim(database, runner)
    assert claimed is not None
    return claimed.lease


async def read(database: Database, task_id: str) -> Task:
    task = await database.read(store.read_task, task_id)
    assert task is not None
    return task


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


@ensureDeferred
async def test_a_checkpoint_is_progress(database: Database) -> None:
    """It stores cursor and counters, keeps what is None, and forgets failures."""
    await register(database)
    await add(database, "a")
    lease = await claimed_lease(database)
    await execute(database, "UPDATE scheduled_tasks SET attempt = 2, error = 'x'")
    await database.transact(store.checkpoint, lease, '{"at":5}', done=5, phase="delete", total=9)
    await database.transact(store.checkpoint, lease, '{"at":7}', done=2, phase=None, total=None)
    task = await read(database, "a")
    assert (task.done, task.total, task.phase, task.attempt, task.error) == (7, 9, "delete", 0, None)
    fenced = await database.transact(store.fence, lease)
    assert (fenced.cursor, fenced.done, fenced.cancel_requested) == ('{"at":7}', 7, False)


@ensureDeferred
async def test_writes_after_a_takeover_are_refused(database: Database) -> None:
    """Each write of the former owner fails, and changes nothing."""
    await register(database)
    await register(database, "v#1")
    await add(database, "a")
    old = await claimed_lease(database)
    await expire(database, "w#1")
    await claimed_lease(database, "v#1")
    before = await read(database, "a")
    writes: list[Callable[[Transaction], Any]] = [
        lambda txn: store.fence(txn, old),
        lambda txn: store.checkpoint(txn, old, "{}", done=1, phase=None, total=None),
        lambda txn: store.postpone(txn, old, "{}", done=1, delay_ms=1),
        lambda txn: store.retry(txn, old, "x", delay_ms=1),
        lambda txn: store.release(txn, old),
        lambda txn: store.finish(txn, old, Status.COMPLETE),
    ]
    for write in writes:
        with pytest.raises(LeaseLostError):
            await database.transact(write)
    assert await read(database, "a") == before


@ensureDeferred
async def test_the_ways_to_give_a_task_back(database: Database) -> None:
    """Postponed keeps progress, retried counts a failure, released changes nothing."""
    await register(database)
    await add(database, "a", run_at_ms=5)
    await database.transact(store.release, await claimed_lease(database))
    task = await read(database, "a")
    assert (task.status, task.timestamp_ms, task.attempt, task.owner) == (Status.SCHEDULED, 5, 0, None)

    await database.transact(store.retry, await claimed_lease(database), "broken", delay_ms=0)
    task = await read(database, "a")
    assert (task.attempt, task.error) == (1, "broken")

    lease = await claimed_lease(database)
    await database.transact(store.postpone, lease, '{"at":1}', done=4, delay_ms=60_000)
    task = await read(database, "a")
    assert (task.attempt, task.error, task.done) == (0, None, 4)
    assert task.timestamp_ms - task.updated_at_ms == 60_000
    assert await claim(database) is None


@ensureDeferred
async def test_a_finished_task_stays_finished(database: Database) -> None:
    """The result is kept, and the task is neither claimed nor cancelled any more."""
    await register(database)
    await add(database, "a")
    lease = await claimed_lease(database)
    await database.transact(store.finish, lease, Status.COMPLETE, result='{"n":1}', done=3)
    await database.transact(store.request_cancel, "a")
    task = await read(database, "a")
    assert (task.status, task.result, task.done, task.owner) == (Status.COMPLETE, {"n": 1}, 3, None)
    assert task.finished_at_ms == task.timestamp_ms
    assert await claim(database) is None


@ensureDeferred
async def test_cancel(database: Database) -> None:
    """A waiting task ends at once; an active one, or one that has begun and can be tidied up, is flagged."""
    await register(database)
    await add(database, "waiting")
    await database.transact(store.request_cancel, "waiting")
    assert (await read(database, "waiting")).status is Status.CANCELLED

    await add(database, "begun")
    lease = await claimed_lease(database)
    await database.transact(store.request_cancel, "begun")
    task = await read(database, "begun")
    assert (task.status, task.cancel_requested) == (Status.ACTIVE, True)
    assert (await database.transact(store.fence, lease)).cancel_requested

    await database.transact(store.postpone, lease, "{}", done=0, delay_ms=60_000)
    await database.transact(store.request_cancel, "begun")
    assert (await read(database, "begun")).status is Status.SCHEDULED
    assert await claim(database) is not None, "it is due at once"

    await execute(
        database, "UPDATE scheduled_tasks SET status = 'scheduled', owner = NULL WHERE id = 'begun'"
    )
    await expire(database, "w#1")
    await database.transact(store.request_cancel, "begun")
    assert (await read(database, "begun")).status is Status.CANCELLED, "nobody is there to tidy up"


@ensureDeferred
async def test_a_runner_lives_by_its_beats_and_never_again(database: Database) -> None:
    """A beat prolongs the lease; after the end of it no beat does."""
    await register(database)
    assert await database.transact(store.beat, "w#1", 2 * TTL_MS)
    (runner,) = await database.read(store.read_runners)
    assert runner.alive
    assert runner.expires_at_ms - runner.started_at_ms >= 2 * TTL_MS
    assert (runner.name, runner.capabilities, runner.active) == ("w", [NOOP], 0)
    await expire(database, "w#1")
    assert not await database.transact(store.beat, "w#1", TTL_MS)
    assert not (await database.read(store.read_runners))[0].alive


@ensureDeferred
async def test_runners_are_forgotten_after_an_hour(database: Database) -> None:
    """Those who died a moment ago are still listed."""
    await register(database, "old#1")
    await register(database, "new#1")
    await expire(database, "new#1")
    await execute(database, "UPDATE task_runners SET expires_at = now_ms() - 3700000 WHERE name = 'old'")
    assert await database.transact(store.prune_runners, 10) == 1
    assert [runner.name for runner in await database.read(store.read_runners)] == ["new"]


@ensureDeferred
async def test_tasks_that_nobody_can_run_are_listed(database: Database) -> None:
    """By action and version, with the runner that was last able to."""
    await register(database, "w#1", NOOP, ("purge", 1))
    await register(database, "v#1", NOOP)
    await add(database, "a", action="purge", run_at_ms=5)
    await add(database, "b", action="purge", run_at_ms=6)
    await add(database, "c", action="never", version=3)
    await add(database, "d")
    assert [row.action for row in await database.read(store.read_unserved)] == ["never"]
    assert (await read(database, "a")).runnable_by == ["w"]
    await database.transact(store.remove_runner, "w#1")
    never, purge = await database.read(store.read_unserved)
    assert (never.action, never.version, never.count, never.last_seen_runner) == ("never", 3, 1, None)
    assert (purge.action, purge.count, purge.oldest_run_at_ms, purge.last_seen_runner) == ("purge", 2, 5, "w")
    task = await read(database, "a")
    assert (task.runnable_by, task.last_seen_runner) == ([], "w")


@ensureDeferred
async def test_the_next_moment_to_look(database: Database) -> None:
    """The start of a scheduled task, or the end of the lease of another runner that owns one."""
    await register(database)
    await register(database, "v#1")
    due = lambda: database.read(store.read_next_due, "v#1", [NOOP])  # noqa: E731
    assert await due() is None
    await add(database, "a")
    await claimed_lease(database)
    assert TTL_MS / 2 < (await due() or 0) <= TTL_MS
    await execute(
        database,
        "UPDATE scheduled_tasks SET status = 'scheduled', owner = NULL, run_at = now_ms() + 1000000",
    )
    assert 500_000 < (await due() or 0) <= 1_000_000
    assert await database.read(store.read_next_due, "v#1", [("other", 1)]) is None


@ensureDeferred
async def test_the_history_is_bounded(database: Database) -> None:
    """The last transitions are kept, oldest first."""
    await register(database)
    await add(database, "a")
    for _ in range(store.HISTORY_LENGTH):
        await database.transact(store.retry, await claimed_lease(database), "x", delay_ms=0)
    history = await database.read(store.read_history, "a")
    assert len(history) == store.HISTORY_LENGTH
    assert [event.transition for event in history[-2:]] == ["claimed", "retried"]
    assert (history[-1].runner, history[-1].detail) == ("w#1", "in 0 ms: x")


@ensureDeferred
async def test_items_are_rows(database: Database) -> None:
    """The last word about an item stands; they are paged in order, all or by outcome."""
    await add(database, "a")
    items = [TaskItem("x", "done", None), TaskItem("y", "failed", "why"), TaskItem("z", "done", None)]
    await database.transact(store.record_items, "a", items)
    await database.transact(store.record_item, "a", "x", "failed", "later")

    async def page(**query: Any) -> list[str]:
        query = {"outcome": None, "after": None, "limit": 10, **query}
        return [item.item for item in await database.read(store.read_items, "a", **query)]

    assert await page() == ["x", "y", "z"]
    assert await page(outcome="failed") == ["x", "y"]
    assert await page(after="x", limit=1) == ["y"]
    assert (await database.read(store.read_items, "a", outcome="failed", after="x", limit=1))[
        0
    ].detail == "why"


@ensureDeferred
async def test_tasks_are_listed_by_page_and_filter(database: Database) -> None:
    """In order of the timestamp; the pages together are the whole."""
    for number in range(7):
        await add(database, "abcdefg"[number], run_at_ms=100 - number // 2, resource_id=f"r{number % 2}")
    await database.transact(store.request_cancel, "a")

    async def ids(wanted: TaskFilter, limit: int = 100) -> list[str]:
        found, token = await database.read(store.read_tasks, wanted, from_token=None, limit=limit)
        while token is not None:
            page, token = await database.read(store.read_tasks, wanted, from_token=token, limit=limit)
            found += page
        return [task.id for task in found]

    everything = ["g", "e", "f", "c", "d", "b", "a"]
    assert await ids(TaskFilter()) == everything
    assert await ids(TaskFilter(), limit=2) == everything
    assert await ids(TaskFilter(statuses=[Status.CANCELLED])) == ["a"]
    assert await ids(TaskFilter(resource_id="r1")) == ["f", "d", "b"]
    assert await ids(TaskFilter(max_timestamp_ms=98)) == ["g", "e", "f"]
    assert await ids(TaskFilter(actions=["other"])) == []
    with pytest.raises(MatrixError):
        await database.read(store.read_tasks, TaskFilter(), from_token="x", limit=1)


@ensureDeferred
async def test_gauges(database: Database) -> None:
    """Counts by action and status, and how long the oldest runnable task has waited."""
    await add(database, "a", run_at_ms=1)
    await add(database, "b", run_at_ms=2**50)
    gauges = await database.read(store.read_gauges)
    assert gauges.counts == {("noop", "scheduled"): 2}
    assert gauges.waiting_ms["noop"] > 10**12
    assert gauges.unserved[0].count == 2


@pytest.mark.new_database
@ensureDeferred
async def test_a_claim_reads_no_finished_rows(database: Database) -> None:
    """With thousands of finished tasks the claim goes through the index of the pending ones."""

    def fill(txn: Transaction) -> None:
        txn.execute(
            "INSERT INTO scheduled_tasks (id, action, version, status, requester, endpoint, priority, run_at,"
            " params, max_attempts, created_at, updated_at, finished_at)"
            " SELECT n::text, CASE WHEN n > 5000 THEN 'foreign' ELSE 'noop' END, 1,"
            " CASE WHEN n > 5000 THEN 'scheduled' ELSE 'complete' END, '@a:x', 'e', 0, n, '{}', 3, 1, 1,"
            " CASE WHEN n > 5000 THEN NULL ELSE 1 END FROM generate_series(1, 5500) n"
        )

    await database.transact(fill)
    await execute(database, "ANALYZE scheduled_tasks")

    def explain(txn: Transaction) -> str:
        arguments = {"runner": "w#1", "capabilities": (NOOP,), "running": []}
        return json.dumps(txn.value(f"EXPLAIN (FORMAT JSON) {store.leases._CLAIM}", arguments))

    plan = await database.read(explain)
    assert "scheduled_tasks_runnable" in plan
    assert '"Sort"' not in plan
    assert (
        '"Seq Scan", "Parallel Aware": false, "Async Capable": false, "Relation Name": "scheduled_tasks"'
        not in plan
    )
