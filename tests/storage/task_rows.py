"""Tasks and runners as rows, for the tests of the task engine's statements."""

from collections.abc import Sequence
from typing import Any

from attrs import evolve

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.tasks import Claimed, Lease, NewTask, Task

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
