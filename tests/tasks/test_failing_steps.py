"""Steps that fail: what is tried again, what is given up, what is left of them."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import TaskItem, record_items
from synapse_lite.tasks.actions.noop import NOOP, Noop, NoopParams
from synapse_lite.tasks.outcome import Done, Fail, Next, Outcome
from synapse_lite.tasks.queue import Status
from synapse_lite.tasks.specs import TaskView
from tests.tasks.conftest import Engine, Scripted
from tests.tasks.counting import ASKED, COUNT, Cursor, Params, at


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
        record_items(txn, task.id, [TaskItem(f"item{at(task)}-{task.attempt}", "done")])
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
