"""What the owner of a task writes, and how a task ends: the statements of the task engine, each on a real PostgreSQL."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.tasks import LeaseLostError, Status
from tests.storage.task_rows import add, claim, claimed_lease, execute, expire, read, register


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
