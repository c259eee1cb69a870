"""Tasks run from end to end: routing, resuming, waiting, cancelling, draining."""

import logging

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import TaskItem, record_items
from synapse_lite.tasks.actions.noop import NOOP, Noop, NoopParams
from synapse_lite.tasks.outcome import Done, Later, Next, Outcome
from synapse_lite.tasks.queue import Status
from synapse_lite.tasks.specs import TaskSpec, TaskView
from tests.tasks.conftest import Engine, Scripted
from tests.tasks.counting import ASKED, COUNT, Cursor, Gate, Params, at


@ensureDeferred
async def test_a_task_runs_to_its_end(engine: Engine) -> None:
    """All steps are done once, progress is counted, the result is stored, the history tells."""
    await engine.start(NOOP, Noop())
    enqueued = await engine.queue.enqueue(NOOP, NoopParams(steps=5), **ASKED)
    assert enqueued.created
    task = await engine.until_ended(enqueued.id)
    assert (task.status, task.result, task.done, task.total) == (Status.COMPLETE, {"steps": 5}, 5, 5)
    assert (task.requester, task.endpoint, task.runnable_by) == ("@admin:x", "POST /test", ["w"])
    history = await engine.queue.history(enqueued.id)
    assert [event.transition for event in history] == ["enqueued", "claimed", "complete"]
    assert engine.metric("task_rows_done_total", action="noop") == 5
    assert engine.metric("task_step_seconds_count", action="noop") == 6
    assert engine.metric("task_claim_seconds_count") > 0


@ensureDeferred
async def test_what_the_last_step_did_counts(engine: Engine) -> None:
    """In the task and in the metric, also when it is the only step."""
    scheduler = await engine.start(COUNT, Scripted(lambda txn, task: Done(done=3)))
    asked = await engine.queue.enqueue(COUNT, Params(), **ASKED)
    assert (await engine.until_ended(asked.id)).done == 3
    await engine.stop(scheduler)
    assert engine.metric("task_rows_done_total", action=COUNT.action) == 3


@ensureDeferred
async def test_an_enqueued_task_starts_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wake-up starts it: there is no poll here."""
    engine.never_poll(monkeypatch)
    await engine.start(COUNT, Scripted(lambda txn, task: Done()))
    for number in range(5):
        asked = await engine.queue.enqueue(COUNT, Params(name=str(number)), **ASKED)
        assert (await engine.until_ended(asked.id)).status is Status.COMPLETE


@ensureDeferred
async def test_parallel_requests_make_one_task(engine: Engine) -> None:
    """Twenty requests for the same thing at the same moment: one task, one `created`."""
    queue = engine.queue
    requests = [Deferred.fromCoroutine(queue.enqueue(COUNT, Params(), **ASKED)) for _ in range(20)]
    enqueued = await gatherResults(requests)
    assert len({answer.id for answer in enqueued}) == 1
    assert [answer.created for answer in enqueued].count(True) == 1


@ensureDeferred
async def test_what_nobody_can_run_is_visible_and_blocks_nothing(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown action waits, reported at start, while others run past it."""
    urgent = TaskSpec(action="unknown", version=1, params=Params, cursor=Cursor, priority=9)
    waiting = await engine.queue.enqueue(urgent, Params(), **ASKED)
    with caplog.at_level(logging.INFO):
        await engine.start(NOOP, Noop())
    assert "noop/1: runnable here" in caplog.text
    assert "unknown/1: 1 pending, runnable NOWHERE; last seen: never" in caplog.text
    enqueued = await engine.queue.enqueue(NOOP, NoopParams(steps=1), **ASKED)
    assert (await engine.until_ended(enqueued.id)).status is Status.COMPLETE
    task = await engine.queue.get(waiting.id)
    assert task is not None
    assert (task.status, task.attempt, task.runnable_by) == (Status.SCHEDULED, 0, [])
    assert engine.metric("task_unserved", action="unknown") == 1
    assert engine.metric("tasks", action="unknown", status="scheduled") == 1
    assert engine.metric("task_oldest_runnable_seconds", action="unknown") >= 0


@ensureDeferred
async def test_later_frees_the_slot_and_comes_back(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A postponed task goes on from its cursor when its time has come: the scheduler wakes up for it, there is no poll."""
    engine.never_poll(monkeypatch)

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        return Later(Cursor(at=1), seconds=0.05, done=1) if task.cursor is None else Done({"at": at(task)})

    await engine.start(COUNT, Scripted(step))
    task = await engine.until_ended((await engine.queue.enqueue(COUNT, Params(), **ASKED)).id)
    assert (task.result, task.done) == ({"at": 1}, 1)


@ensureDeferred
async def test_a_waiting_task_is_cancelled_at_once(engine: Engine) -> None:
    """No runner is needed for it."""
    enqueued = await engine.queue.enqueue(COUNT, Params(), **ASKED)
    task = await engine.queue.cancel(enqueued.id)
    assert task is not None
    assert task.status is Status.CANCELLED
    assert await engine.queue.cancel("unknown") is None


@ensureDeferred
async def test_a_running_task_is_cancelled_at_its_next_step(engine: Engine) -> None:
    """The step under way commits; then the handler tidies up, in the transaction that cancels."""
    gate = Gate()

    class Tidy(Scripted):
        def on_cancel(self, txn: Transaction, task: TaskView[Params, Cursor]) -> None:
            record_items(txn, task.id, [TaskItem(f"tidied at {at(task)}", "done")])

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        gate.pass_through()
        return Next(Cursor(at=at(task) + 1), done=1)

    await engine.start(COUNT, Tidy(step))
    enqueued = await engine.queue.enqueue(COUNT, Params(), **ASKED)
    await gate.entered
    task = await engine.queue.cancel(enqueued.id)
    assert task is not None
    assert (task.status, task.cancel_requested) == (Status.ACTIVE, True)
    gate.open()
    task = await engine.until_ended(enqueued.id)
    assert (task.status, task.done) == (Status.CANCELLED, 1)
    assert [item.item for item in await engine.queue.items(task.id)] == ["tidied at 1"]


@ensureDeferred
async def test_drain_commits_the_step_and_gives_the_task_back(engine: Engine) -> None:
    """A stopped scheduler leaves its task to others, where it stood, with no attempt counted."""
    gate = Gate()

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        gate.pass_through()
        return Next(Cursor(at=at(task) + 1), done=1) if at(task) < 2 else Done()

    first = await engine.start(COUNT, Scripted(step))
    enqueued = await engine.queue.enqueue(COUNT, Params(), **ASKED)
    await gate.entered
    stopping = Deferred.fromCoroutine(engine.stop(first))
    gate.open()
    await stopping
    task = await engine.queue.get(enqueued.id)
    assert task is not None
    assert (task.status, task.done, task.attempt, task.owner) == (Status.SCHEDULED, 1, 0, None)
    assert (task.runnable_by, task.last_seen_runner) == ([], "w")
    assert await engine.queue.runners() == []

    await engine.start(COUNT, Scripted(step), name="v")
    task = await engine.until_ended(enqueued.id)
    assert (task.status, task.done) == (Status.COMPLETE, 2)


@ensureDeferred
async def test_slots_are_bounded(engine: Engine) -> None:
    """No more tasks at a time than `concurrency`; the others follow."""
    gate = Gate()
    under_way: list[str] = []

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        under_way.append(task.params.name)
        gate.pass_through()
        return Done()

    await engine.start(COUNT, Scripted(step))
    try:
        tasks = [await engine.queue.enqueue(COUNT, Params(name=name), **ASKED) for name in "abc"]
        for task in tasks[:2]:
            await engine.until(task.id, lambda task: task.status is Status.ACTIVE)
        third = await engine.queue.get(tasks[2].id)
        assert third is not None
        assert third.status is Status.SCHEDULED
        assert len(under_way) <= 2
    finally:
        gate.open()
    for task in tasks:
        assert (await engine.until_ended(task.id)).status is Status.COMPLETE


@ensureDeferred
async def test_pages_of_tasks(engine: Engine) -> None:
    """`find` filters and pages."""
    ids = [(await engine.queue.enqueue(COUNT, Params(name=name), **ASKED)).id for name in "abc"]
    page = await engine.queue.find(actions=["count"], limit=2)
    rest = await engine.queue.find(actions=["count"], limit=2, from_token=page.next_token)
    assert {task.id for task in page.tasks + rest.tasks} == set(ids)
    assert (len(page.tasks), len(rest.tasks), rest.next_token) == (2, 1, None)
    (task,) = (await engine.queue.find(resource_id="b", statuses=[Status.SCHEDULED])).tasks
    assert task.id == ids[1]
    assert [row.action for row in await engine.queue.unserved()] == ["count"]
