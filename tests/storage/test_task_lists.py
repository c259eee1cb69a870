"""Runners, lists and counts of tasks: the statements of the task engine, each on a real PostgreSQL."""

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.errors import MatrixError
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.tasks import Status, TaskFilter, TaskItem
from tests.storage.task_rows import (
    NOOP,
    TTL_MS,
    add,
    claimed_lease,
    execute,
    expire,
    read,
    register,
)


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
    await database.transact(store.record_items, "a", [TaskItem("x", "failed", "later")])

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
