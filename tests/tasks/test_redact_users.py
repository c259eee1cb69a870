"""A task with parts: the redactions of many users, started together, counted, and cancelled together."""

from collections.abc import Callable
from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS, RedactParams
from synapse_lite.tasks.actions.redact_all_events.spec import RedactCursor
from synapse_lite.tasks.actions.redact_users import REDACT_EACH_USER, REDACT_USERS, RedactUsersParams
from synapse_lite.tasks.outcome import Done, Fail, Later, Next, Outcome
from synapse_lite.tasks.queue import Status, Task
from synapse_lite.tasks.registry import TaskRegistry
from tests.tasks.conftest import ADMIN, Engine, Scripted

ASKED: dict[str, str] = {"requester": ADMIN, "endpoint": "test"}
USERS = tuple(f"@spam{number}:x" for number in range(5))
Step = Callable[[Transaction, Any], Outcome]


async def start(engine: Engine, step: Step, **more: Any) -> None:
    """A process whose redactions of one user are a function of the test."""
    registry = TaskRegistry()
    registry.register(REDACT_USERS, REDACT_EACH_USER)
    registry.register(REDACT_ALL_EVENTS, Scripted(step))
    await engine.start_all(registry, **more)


async def ask(engine: Engine, *user_ids: str, **more: Any) -> str:
    redaction = RedactParams(user_id=user_ids[0], **more)
    params = RedactUsersParams(user_ids=user_ids, redaction=redaction)
    return (await engine.queue.enqueue(REDACT_USERS, params, **ASKED)).id


async def parts(engine: Engine, task_id: str) -> list[Task]:
    return (await engine.queue.find(parent_id=task_id, limit=100)).tasks


def wait(_txn: Transaction, task: Any) -> Outcome:
    return Later(RedactCursor(), 3600)


@ensureDeferred
async def test_each_user_is_a_part(engine: Engine) -> None:
    """Every user is redacted by a task of their own, as was asked; the whole says what has become of all."""
    asked: list[RedactParams] = []

    def step(_txn: Transaction, task: Any) -> Outcome:
        asked.append(task.params)
        return Fail("no") if task.params.user_id == USERS[1] else Done()

    await start(engine, step)
    task_id = await ask(engine, *USERS, reason="spam", limit=3)
    task = await engine.until_ended(task_id)
    assert task.status is Status.COMPLETE
    assert task.result == {"complete": 4, "failed": 1, "cancelled": 0, "pending_already": 0, "sums": {}}
    assert (task.done, task.total) == (5, 5)
    assert sorted(params.user_id for params in asked) == sorted(USERS)
    assert {(params.reason, params.limit) for params in asked} == {("spam", 3)}
    found = await parts(engine, task_id)
    assert {part.requester for part in found} == {ADMIN}
    started = {item.item: item.detail for item in await engine.queue.items(task_id, outcome="started")}
    assert started == {part.resource_id: part.id for part in found}


@ensureDeferred
async def test_all_parts_are_cancelled_with_it(engine: Engine) -> None:
    """Those that ended stay as they are."""
    await start(engine, lambda txn, task: Done() if task.params.user_id == USERS[0] else wait(txn, task))
    task_id = await ask(engine, *USERS)
    await engine.until(task_id, lambda task: task.total == len(USERS) and task.done == 1)
    details = await engine.queue.details(task_id)
    assert details is not None
    assert (details.children.pending, details.children.complete) == (4, 1)
    await engine.queue.cancel(task_id)
    assert (await engine.until_ended(task_id)).status is Status.CANCELLED
    for part in await parts(engine, task_id):
        await engine.until_ended(part.id)
    statuses = sorted(part.status for part in await parts(engine, task_id))
    assert statuses == ["cancelled"] * 4 + ["complete"]


@ensureDeferred
async def test_parts_that_nobody_runs_are_cancelled_too(engine: Engine) -> None:
    """Without any process, at once."""
    task_id = await ask(engine, *USERS)

    def begin(txn: Transaction) -> None:
        """As if a process had started some of the parts, and died."""
        for number in range(3):
            txn.execute(
                "INSERT INTO scheduled_tasks (id, action, version, requester, endpoint, parent_id, priority, run_at,"
                " params, max_attempts, created_at, updated_at)"
                " VALUES (%s, 'x', 1, '@a:x', 'e', %s, 0, 1, '{}', 3, 1, 1)",
                (f"part{number}", task_id),
            )

    await engine.database.transact(begin)
    await engine.queue.cancel(task_id)
    assert {part.status for part in await parts(engine, task_id)} == {Status.CANCELLED}


@ensureDeferred
async def test_who_is_being_redacted_already_is_left_to_that(engine: Engine) -> None:
    """The redaction that is pending is named, is no part, and is not cancelled with the whole."""
    await start(engine, wait)
    pending = await engine.queue.enqueue(REDACT_ALL_EVENTS, RedactParams(user_id=USERS[0]), **ASKED)
    task_id = await ask(engine, *USERS[:2])
    await engine.until(task_id, lambda task: task.done == 1)
    (item,) = await engine.queue.items(task_id, outcome="pending_already")
    assert (item.item, item.detail) == (USERS[0], pending.id)
    await engine.queue.cancel(task_id)
    await engine.until_ended(task_id)
    other = await engine.queue.get(pending.id)
    assert other is not None
    assert (other.cancel_requested, other.finished_at_ms) == (False, None)


@ensureDeferred
async def test_the_last_part_wakes_the_whole(engine: Engine) -> None:
    """The whole does not wait for its next look when a part ends."""
    ready: list[bool] = []

    def step(_txn: Transaction, task: Any) -> Outcome:
        return Done() if ready else Later(RedactCursor(), 3600)

    await start(engine, step)
    task_id = await ask(engine, USERS[0])
    await engine.until(task_id, lambda task: task.status is Status.SCHEDULED and task.total == 1)
    (part,) = await parts(engine, task_id)
    await engine.until(part.id, lambda task: task.status is Status.SCHEDULED)
    await engine.execute("UPDATE scheduled_tasks SET run_at = now_ms() + 3600000 WHERE id = %s", task_id)
    ready.append(True)
    await engine.execute("UPDATE scheduled_tasks SET run_at = now_ms() WHERE id = %s", part.id)
    engine.queue.announce()
    assert (await engine.until_ended(task_id)).result == {
        "complete": 1,
        "failed": 0,
        "cancelled": 0,
        "pending_already": 0,
        "sums": {},
    }


@ensureDeferred
async def test_tried_again_it_goes_on_with_what_failed(engine: Engine) -> None:
    """From where each part had stopped, on behalf of who asks now; what is done is not done again."""
    broken, steps = [True], list[tuple[str, Any]]()

    def step(_txn: Transaction, task: Any) -> Outcome:
        steps.append((task.params.user_id, task.cursor))
        if task.cursor is None:
            return Next(RedactCursor(), done=1)
        return Fail("no") if broken and task.params.user_id == USERS[1] else Done({"redacted": 2})

    await start(engine, step)
    task_id = await ask(engine, *USERS[:3])
    task = await engine.until_ended(task_id)
    assert (task.done, task.result) == (
        3,
        {"complete": 2, "failed": 1, "cancelled": 0, "pending_already": 0, "sums": {"redacted": 4}},
    )
    broken.clear()
    steps.clear()
    await engine.queue.retry(task_id, from_start=False, requester=ADMIN, endpoint="test")
    task = await engine.until_ended(task_id)
    assert (task.done, task.result) == (
        3,
        {"complete": 3, "failed": 0, "cancelled": 0, "pending_already": 0, "sums": {"redacted": 6}},
    )
    assert steps == [(USERS[1], RedactCursor())]


@ensureDeferred
async def test_a_part_that_is_asked_for_again_elsewhere_is_left_to_that(engine: Engine) -> None:
    """The whole is tried again, its failed part stays as it is, and the other request goes on."""
    await start(engine, lambda _txn, _task: Fail("no"))
    task_id = await ask(engine, USERS[0])
    await engine.until_ended(task_id)
    (part,) = await parts(engine, task_id)
    other = await engine.queue.enqueue(
        REDACT_ALL_EVENTS, RedactParams(user_id=USERS[0]), **ASKED, run_at_ms=2**45
    )
    await engine.queue.retry(task_id, from_start=False, requester=ADMIN, endpoint="test")
    await engine.until_ended(task_id)
    assert [(one.id, one.status) for one in await parts(engine, task_id)] == [(part.id, Status.FAILED)]
    pending = await engine.queue.get(other.id)
    assert pending is not None
    assert pending.status is Status.SCHEDULED
