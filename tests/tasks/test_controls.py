"""What operators do to running tasks: pause, limit, cancel; and where to find them in the log."""

import logging

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.storage.database import Transaction
from synapse_lite.tasks import scheduler
from synapse_lite.tasks.context import task_id as task_in_context
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.queue import Status, TaskQueue
from synapse_lite.tasks.specs import TaskSpec, TaskView
from tests.tasks.conftest import Engine, Scripted
from tests.tasks.counting import ASKED, COUNT, Cursor, Gate, Params, at


class Nothing(TaskModel):
    """No params."""


SLEEP = TaskSpec(action="sleep", version=1, params=Nothing, cursor=Nothing)


async def control(queue: TaskQueue, *, paused: bool = False, max_running: int | None = None) -> None:
    await queue.control("count", lambda _: (paused, max_running))


@ensureDeferred
async def test_a_paused_task_stops_at_its_next_step_and_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step under way commits; the resumed task starts at once, where it stood: there is no poll here."""
    engine.never_poll(monkeypatch)
    gate = Gate()

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        gate.pass_through()
        return Next(Cursor(at=at(task) + 1), done=1) if at(task) < 3 else Done()

    await engine.start(COUNT, Scripted(step))
    asked = await engine.queue.enqueue(COUNT, Params(), **ASKED)
    await gate.entered
    await control(engine.queue, paused=True)
    gate.open()
    task = await engine.until(asked.id, lambda task: task.status is Status.SCHEDULED)
    assert (task.done, task.attempt, task.waiting_reason) == (1, 0, "paused")
    await control(engine.queue)
    task = await engine.until_ended(asked.id)
    assert (task.status, task.done) == (Status.COMPLETE, 3)
    kinds = [event.transition for event in await engine.queue.history(asked.id)]
    assert kinds == ["enqueued", "claimed", "paused", "claimed", "complete"]


@ensureDeferred
async def test_a_paused_task_can_be_cancelled(engine: Engine) -> None:
    """A task that stands half way in a paused action ends, without another step."""
    gate = Gate()
    steps: list[int] = []

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        steps.append(at(task))
        gate.pass_through()
        return Next(Cursor(at=at(task) + 1), done=1)

    await engine.start(COUNT, Scripted(step))
    asked = await engine.queue.enqueue(COUNT, Params(), **ASKED)
    await gate.entered
    await control(engine.queue, paused=True)
    gate.open()
    await engine.until(asked.id, lambda task: task.waiting_reason == "paused")
    await engine.queue.cancel(asked.id)
    task = await engine.until_ended(asked.id)
    assert (task.status, task.done, steps) == (Status.CANCELLED, 1, [0])


@ensureDeferred
async def test_a_limit_holds_over_processes(engine: Engine) -> None:
    """Two processes with four slots run one task of the action at a time, and all in the end."""
    running: set[str] = set()
    most: list[int] = []

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        running.add(task.id)
        most.append(len(running))
        txn.execute("SELECT pg_sleep(0.005)")
        if at(task) < 2:
            return Next(Cursor(at=at(task) + 1), done=1)
        running.discard(task.id)
        return Done()

    asked = [(await engine.queue.enqueue(COUNT, Params(name=str(n)), **ASKED)).id for n in range(6)]
    await control(engine.queue, max_running=1)
    for name in ("v", "w"):
        await engine.start(COUNT, Scripted(step), name=name)
    for task_id in asked:
        assert (await engine.until_ended(task_id)).status is Status.COMPLETE
    assert max(most) == 1


@ensureDeferred
async def test_a_stuck_statement_is_stopped(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the grace period the step of a cancelled task is stopped and rolled back, and nothing else."""
    monkeypatch.setattr(scheduler, "CANCEL_GRACE_SECONDS", 0.05)
    gate = Gate()

    def step(txn: Transaction, task: TaskView[Nothing, Nothing]) -> Outcome:
        gate.pass_through()
        txn.execute("SELECT pg_sleep(60)")
        return Done()

    await engine.start(SLEEP, Scripted(step))
    asked = await engine.queue.enqueue(SLEEP, Nothing(), **ASKED)
    await gate.entered
    gate.open()
    bystander = Deferred.fromCoroutine(
        engine.database.read(lambda txn: txn.value("SELECT 'done' FROM pg_sleep(0.5)"))
    )
    await engine.queue.cancel(asked.id)
    await engine.clock.sleep(0.1)
    engine.queue.announce()
    task = await engine.until_ended(asked.id)
    assert task.status is Status.CANCELLED
    assert await bystander == "done"
    kinds = [event.transition for event in await engine.queue.history(asked.id)]
    assert kinds[:3] == ["enqueued", "claimed", "cancel_requested"]
    assert kinds[-3:] == [
        "retried",
        "claimed",
        "cancelled",
    ]  # on a busy machine the grace ends more than once


@ensureDeferred
async def test_log_lines_name_the_task(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is logged on behalf of a task carries its id, in threads too; outside there is none."""
    seen: list[str] = []

    class Watch(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            record.task_id = task_in_context.get()
            return True

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        seen.append(task_in_context.get())
        return Done()

    caplog.handler.addFilter(watch := Watch())
    scheduler = await engine.start(COUNT, Scripted(step))
    with caplog.at_level(logging.INFO):
        ids = [(await engine.queue.enqueue(COUNT, Params(name=name), **ASKED)).id for name in "ab"]
        for task_id in ids:
            await engine.until_ended(task_id)
        await engine.stop(scheduler)  # the line of the end follows its commit
    caplog.handler.removeFilter(watch)
    ended = {record.__dict__["task_id"] for record in caplog.records if record.name.endswith("tasks.run")}
    assert ended == set(seen) == set(ids)
    assert task_in_context.get() == ""
