"""Pause and limit of an action, as the claim obeys them."""

from threading import Event

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.tasks import ActionFullError, Claimed
from tests.storage.task_rows import NOOP, add, claim, claimed_lease, execute, expire, new_task, read, register


async def control(database: Database, *, paused: bool = False, max_running: int | None = None) -> None:
    await database.transact(store.write_control, "noop", paused=paused, max_running=max_running)


@ensureDeferred
async def test_a_paused_action_is_not_claimed(database: Database) -> None:
    """Neither from the queue nor from the dead, until it is resumed; a cancelled task is."""
    await register(database)
    await register(database, "dead#1")
    await add(database, "a", run_at_ms=1)
    await claimed_lease(database, "dead#1")
    await expire(database, "dead#1")
    await add(database, "b", run_at_ms=2)
    await control(database, paused=True)
    assert await claim(database) is None
    await database.transact(store.request_cancel, "a")
    assert (await claimed_lease(database)).task_id == "a"
    await control(database, paused=False)
    assert (await claimed_lease(database)).task_id == "b"


@ensureDeferred
async def test_another_action_runs_past_a_paused_one(database: Database) -> None:
    """Only the action that was paused waits."""
    await register(database, "w#1", NOOP, ("other", 1))
    await add(database, "a", priority=9)
    await add(database, "b", action="other")
    await control(database, paused=True)
    claimed = await database.transact(store.claim, "w#1", [NOOP, ("other", 1)], [])
    assert claimed is not None
    assert claimed.lease.task_id == "b"


@ensureDeferred
async def test_a_limit_holds_over_all_runners(database: Database) -> None:
    """The tasks of all processes count; what was taken from the dead keeps its place."""
    await register(database)
    await register(database, "v#1")
    for task_id in "abc":
        await add(database, task_id, run_at_ms=ord(task_id))
    await control(database, max_running=2)
    await claimed_lease(database, "v#1")
    await claimed_lease(database)
    assert await claim(database) is None
    await expire(database, "v#1")
    assert (await claimed_lease(database)).task_id == "a"
    assert await claim(database) is None
    await execute(database, "UPDATE task_controls SET max_running = 3")
    assert (await claimed_lease(database)).task_id == "c"


@ensureDeferred
async def test_two_claims_at_once_keep_the_limit(database: Database) -> None:
    """The second claimer waits for the commit of the first, and looks again."""
    await register(database)
    await register(database, "v#1")
    await add(database, "a")
    await add(database, "b")
    await control(database, max_running=1)
    claimed, waiting = Event(), Event()

    def claim_slowly(txn: Transaction) -> Claimed | None:
        result = store.claim(txn, "v#1", [NOOP], [])
        claimed.set()
        for _ in range(30_000):
            if txn.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                break
            txn.execute("SELECT pg_sleep(0.01)")
        else:
            waiting.set()
        return result

    first = Deferred.fromCoroutine(database.transact(claim_slowly))
    await deferToThread(claimed.wait, 300)
    with pytest.raises(ActionFullError):
        await claim(database)
    assert await first is not None
    assert not waiting.is_set(), "the second claim did not wait"
    assert await claim(database) is None


@ensureDeferred
async def test_the_place_of_an_action_names_its_pace(database: Database) -> None:
    """From what the present owner has done since it took the task follows when it ends."""
    await register(database)
    await add(database, "a")
    lease = await claimed_lease(database)
    await database.transact(store.checkpoint, lease, "{}", done=10, phase=None, total=100)
    await execute(database, "UPDATE scheduled_tasks SET claimed_at = updated_at - 500")
    assert (await read(database, "a")).eta_ms == 4500
    await database.transact(store.release, lease)
    assert (await read(database, "a")).eta_ms is None
    lease = await claimed_lease(database)
    assert (await read(database, "a")).eta_ms is None, "the pace of an earlier owner says nothing"
    await database.transact(store.checkpoint, lease, "{}", done=90, phase=None, total=None)
    assert (await read(database, "a")).eta_ms == 0


@ensureDeferred
async def test_many_parts(database: Database) -> None:
    """They are cancelled with their whole, and go on with it, by as many statements as few; each tells of it."""

    def statements(txn: Transaction, count: int) -> tuple[int, int]:
        whole = f"whole of {count}"
        store.enqueue(txn, new_task(whole))
        for number in range(count):
            store.enqueue(txn, new_task(f"{count}.{number}", parent_id=whole))
        begun = txn._sent
        store.request_cancel(txn, whole)
        assert store.count_children(txn, whole).cancelled == count
        cancelled = txn._sent
        store.reopen(txn, whole, requester="@other:x")
        assert store.count_children(txn, whole).pending == count
        return cancelled - begun, txn._sent - cancelled

    assert await database.transact(statements, 2) == await database.transact(statements, 100)
    history = await database.read(store.read_history, "100.7")
    assert [event.transition for event in history] == ["enqueued", "cancelled", "reopened"]
