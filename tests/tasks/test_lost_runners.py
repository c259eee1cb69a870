"""Processes that lose their tasks: frozen, killed, or cut off from the database."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import CommitUncertainError, Transaction
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.queue import Status
from synapse_lite.tasks.specs import TaskView
from tests.tasks.conftest import Engine, Scripted
from tests.tasks.counting import ASKED, COUNT, Cursor, Gate, Params, at


@ensureDeferred
async def test_a_zombie_writes_nothing(engine: Engine) -> None:
    """A step whose task was taken over meanwhile is rolled back, and the new owner's work stands."""
    gate = Gate()

    def slow(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        # As a process that froze between its fence and its writes, after the server let go of its lock.
        txn.execute("ROLLBACK; BEGIN")
        gate.pass_through()
        txn.execute("INSERT INTO task_items VALUES (%s, 'zombie', 'done')", (task.id,))
        return Done({"by": "zombie"})

    await engine.start(COUNT, Scripted(slow), name="zombie")
    enqueued = await engine.queue.enqueue(COUNT, Params(), **ASKED)
    zombie_metrics = engine.metrics
    await gate.entered
    await engine.execute("UPDATE task_runners SET expires_at = now_ms() - 1 WHERE name = 'zombie'")
    await engine.start(COUNT, Scripted(lambda txn, task: Done({"by": "heir"})), name="heir")
    task = await engine.until_ended(enqueued.id)
    assert task.result == {"by": "heir"}
    assert engine.metric("task_rescued_total") == 1
    gate.open()
    while not zombie_metrics.get_sample_value("synapse_lite_task_lease_lost_total"):
        await engine.clock.sleep(0.005)
    assert await engine.queue.items(task.id) == []
    found = await engine.queue.get(task.id)
    assert found is not None
    assert (found.result, found.finished_at_ms) == (task.result, task.finished_at_ms)


@ensureDeferred
async def test_a_task_that_kills_its_runners_is_parked(engine: Engine) -> None:
    """Claimed once too often from the dead, it fails without running again."""
    enqueued = await engine.queue.enqueue(COUNT, Params(), **ASKED)
    await engine.execute(
        "UPDATE scheduled_tasks SET status = 'active', owner = 'dead#1', attempt = 2, cursor = '{\"at\":7}'"
    )
    await engine.start(COUNT, Scripted(lambda txn, task: Done()))
    task = await engine.until_ended(enqueued.id)
    assert task.status is Status.FAILED
    assert task.error == (
        'gave up after 3 attempts without progress at cursor {"at":7}: its last runner died'
    )


@ensureDeferred
async def test_an_expired_process_registers_anew_and_goes_on(engine: Engine) -> None:
    """The expired incarnation drops its task; the next one of the same process takes it up."""
    gate = Gate()
    runs = []

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        runs.append(task.attempt)
        if len(runs) == 1:
            gate.pass_through()
        return Next(Cursor(at=at(task) + 1), done=1) if at(task) < 3 else Done()

    await engine.start(COUNT, Scripted(step))
    enqueued = await engine.queue.enqueue(COUNT, Params(), **ASKED)
    await gate.entered
    (dead,) = await engine.queue.runners()
    await engine.expire()
    while len(runners := await engine.queue.runners()) == 1:
        await engine.clock.sleep(0.01)
    assert [(runner.name, runner.alive) for runner in runners] == [("w", False), ("w", True)]
    assert runners[0].id == dead.id
    gate.open()
    task = await engine.until_ended(enqueued.id)
    assert (task.status, task.done) == (Status.COMPLETE, 3)
    kinds = [event.transition for event in await engine.queue.history(enqueued.id)]
    assert kinds == ["enqueued", "claimed", "rescued", "complete"]


@ensureDeferred
async def test_an_uncertain_commit_does_nothing_twice(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the connection breaks during a commit, the stored cursor tells how to go on."""
    run_transaction = engine.database._run_transaction
    broken: list[str] = []

    def breaking(connection: Any, function: Any, args: Any, kwargs: Any) -> Any:
        result = run_transaction(connection, function, args, kwargs)
        if function.__name__ in {"_look", "run_step"} and broken.count(function.__name__) < 2:
            broken.append(function.__name__)
            raise CommitUncertainError("broken")
        return result

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        txn.execute("INSERT INTO task_items VALUES (%s, %s, 'done')", (task.id, f"i{at(task)}"))
        return Next(Cursor(at=at(task) + 1), done=1) if at(task) < 4 else Done()

    enqueued = await engine.queue.enqueue(COUNT, Params(), **ASKED)
    monkeypatch.setattr(engine.database, "_run_transaction", breaking)
    await engine.start(COUNT, Scripted(step))
    while broken.count("_look") < 2:
        await engine.clock.sleep(0.01)
        engine.queue.announce()
    engine.queue.announce()
    task = await engine.until_ended(enqueued.id)
    assert (task.status, task.done) == (Status.COMPLETE, 4)
    assert broken.count("run_step") == 2
