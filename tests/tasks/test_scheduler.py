"""Tasks run from end to end: routing, resuming, retrying, cancelling, draining, taking over."""

import logging
from typing import Any

import pytest
from pydantic import BaseModel
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import blockingCallFromThread

from synapse_lite.storage.database import CommitUncertainError, Transaction
from synapse_lite.storage.tasks import record_item
from synapse_lite.tasks.actions.noop import NOOP, Noop, NoopParams
from synapse_lite.tasks.outcome import Done, Fail, Later, Next, Outcome
from synapse_lite.tasks.queue import Status
from synapse_lite.tasks.specs import TaskSpec, TaskView
from tests.tasks.conftest import Engine, Scripted, fire

ASKED = {"requester": "@admin:x", "endpoint": "POST /test"}


class Params(BaseModel):
    name: str = "a"


class Cursor(BaseModel):
    at: int


COUNT = TaskSpec(
    action="count",
    version=1,
    params=Params,
    cursor=Cursor,
    resource=lambda params: params.name,
    unique=lambda params: params.name,
    max_attempts=3,
)


def at(task: TaskView[Params, Cursor]) -> int:
    return task.cursor.at if task.cursor else 0


class Gate:
    """Lets the test see that a step is under way, and decides when it goes on."""

    def __init__(self) -> None:
        self.entered: Deferred[None] = Deferred()
        self.opened: Deferred[None] = Deferred()

    def open(self) -> None:
        fire(self.opened)

    def pass_through(self) -> None:
        """In the thread of a step."""
        reactor.callFromThread(fire, self.entered)
        blockingCallFromThread(reactor, self._wait)

    def _wait(self) -> "Deferred[None]":
        waiting: Deferred[None] = Deferred()
        self.opened.addCallback(lambda _: fire(waiting))
        return waiting


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
async def test_a_failing_step_is_retried_then_parked(engine: Engine) -> None:
    """Failures at one place add up; the error names what happened, how often and where."""
    await engine.start(NOOP, Noop())
    enqueued = await engine.queue.enqueue(NOOP, NoopParams(steps=5, fail_at=2), **ASKED)
    task = await engine.until_ended(enqueued.id)
    assert (task.status, task.done) == (Status.FAILED, 2)
    assert task.error is not None
    assert task.error.startswith(
        'gave up after 10 attempts without progress at cursor {"step":2}: RuntimeError in step'
    )
    assert "asked to fail" not in task.error, "the text of an exception may quote an event"
    kinds = [event.transition for event in await engine.queue.history(enqueued.id)]
    assert kinds.count("retried") == 9


@ensureDeferred
async def test_progress_forgives_failures(engine: Engine) -> None:
    """A task that fails twice before each checkpoint is never given up with three attempts."""
    failures = dict.fromkeys(range(4), 2)
    batches = []

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        here = at(task)
        batches.append(task.batch)
        if failures[here]:
            failures[here] -= 1
            raise ValueError
        return Next(Cursor(at=here + 1), done=1) if here < 3 else Done()

    await engine.start(COUNT, Scripted(step))
    task = await engine.until_ended((await engine.queue.enqueue(COUNT, Params(), **ASKED)).id)
    assert (task.status, task.done) == (Status.COMPLETE, 3)
    assert batches[:3] == [100, 50, 25], "what failed is tried again with less"


@ensureDeferred
async def test_a_failed_step_leaves_nothing(engine: Engine) -> None:
    """What a step wrote before it raised is rolled back, so each item counts once."""

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        record_item(txn, task.id, f"item{at(task)}-{task.attempt}", "done")
        if task.attempt == 0:
            raise ValueError
        return Next(Cursor(at=at(task) + 1)) if at(task) < 1 else Done()

    await engine.start(COUNT, Scripted(step))
    task = await engine.until_ended((await engine.queue.enqueue(COUNT, Params(), **ASKED)).id)
    items = [item.item for item in await engine.queue.items(task.id, outcome="done")]
    assert items == ["item0-1", "item1-1"]


@ensureDeferred
async def test_permanent_failures(engine: Engine) -> None:
    """`Fail` ends a task without a retry."""
    await engine.start(COUNT, Scripted(lambda txn, task: Fail("no such room")))
    task = await engine.until_ended((await engine.queue.enqueue(COUNT, Params(), **ASKED)).id)
    assert (task.status, task.error, task.attempt) == (Status.FAILED, "no such room", 0)


@ensureDeferred
async def test_malformed_params_fail_at_once(engine: Engine) -> None:
    """A row that does not fit its version ends as failed, without running and without its values."""
    enqueued = await engine.queue.enqueue(NOOP, NoopParams(steps=1), **ASKED)
    await engine.execute('UPDATE scheduled_tasks SET params = \'{"steps": "secret"}\'')
    await engine.start(NOOP, Noop())
    task = await engine.until_ended(enqueued.id)
    assert (task.status, task.attempt) == (Status.FAILED, 0)
    assert task.error is not None
    assert task.error.startswith("noop/1 is malformed: steps: ")
    assert "secret" not in task.error


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
            record_item(txn, task.id, f"tidied at {at(task)}", "done")

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
