"""Old and new version of an action side by side, as in a rolling upgrade."""

from typing import Any

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.queue import Status, Task
from synapse_lite.tasks.registry import RegistryError, TaskRegistry
from synapse_lite.tasks.specs import TaskSpec, TaskView, Upcast
from tests.tasks.conftest import Engine, Scripted

ASKED = {"requester": "@admin:x", "endpoint": "POST /test"}


class OldParams(TaskModel):
    name: str


class OldCursor(TaskModel):
    at: int


class Params(TaskModel):
    names: list[str]


class Cursor(TaskModel):
    at: int
    side: str


COUNT_1 = TaskSpec(action="count", version=1, params=OldParams, cursor=OldCursor)
COUNT_2 = TaskSpec(
    action="count",
    version=2,
    params=Params,
    cursor=Cursor,
    upcasts=(
        Upcast(
            version=1,
            params=lambda params: {"names": [params["name"]]},
            cursor=lambda cursor: {**cursor, "side": "left"},
        ),
    ),
)
LAST = 3


def old_step(_txn: Transaction, task: TaskView[OldParams, OldCursor]) -> Outcome:
    at = task.cursor.at if task.cursor else 0
    if at == LAST:
        return Done({"by": 1, "name": task.params.name})
    return Next(OldCursor(at=at + 1), done=1)


def new_step(_txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
    at, side = (task.cursor.at, task.cursor.side) if task.cursor else (0, "right")
    if at == LAST:
        return Done({"by": 2, "names": task.params.names, "side": side})
    return Next(Cursor(at=at + 1, side=side), done=1)


async def stop_half_way(engine: Engine, spec: TaskSpec[Any, Any], params: TaskModel) -> str:
    """A task of version 1 that stands at its first checkpoint, with nobody working on it."""
    enqueued = await engine.queue.enqueue(spec, params, **ASKED)
    await engine.execute("UPDATE scheduled_tasks SET cursor = '{\"at\": 1}', done = 1")
    return enqueued.id


@ensureDeferred
async def test_new_code_finishes_what_old_code_began(engine: Engine) -> None:
    """Params and cursor of version 1 go through the upcaster, and the row becomes one of version 2."""
    task_id = await stop_half_way(engine, COUNT_1, OldParams(name="a"))
    scheduler = await engine.start(COUNT_2, Scripted(new_step))
    task = await engine.until_ended(task_id)
    assert (task.status, task.version, task.done) == (Status.COMPLETE, 2, LAST)
    assert task.result == {"by": 2, "names": ["a"], "side": "left"}
    assert task.params == {"names": ["a"]}
    (runner,) = await engine.queue.runners()
    assert runner.capabilities == [("count", 1), ("count", 2)]
    await engine.stop(scheduler)


@ensureDeferred
async def test_old_processes_never_see_new_rows(engine: Engine) -> None:
    """A row of version 2 waits for new code, and says so; a row of version 1 is run by old code."""
    new = await engine.queue.enqueue(COUNT_2, Params(names=["b"]), **ASKED)
    old = await engine.queue.enqueue(COUNT_1, OldParams(name="a"), **ASKED)
    await engine.start(COUNT_1, Scripted(old_step), name="old")
    assert (await engine.until_ended(old.id)).result == {"by": 1, "name": "a"}
    waiting = await engine.queue.get(new.id)
    assert waiting is not None
    assert (waiting.status, waiting.waiting_reason) == (Status.SCHEDULED, "no_runner")
    await engine.start(COUNT_2, Scripted(new_step), name="new")
    assert (await engine.until_ended(new.id)).result == {"by": 2, "names": ["b"], "side": "right"}


@ensureDeferred
async def test_two_catalogues_share_the_work(engine: Engine) -> None:
    """Whoever takes a row of version 1 finishes it, and nothing is lost or run by who does not know it."""
    await engine.start(COUNT_1, Scripted(old_step), name="old")
    await engine.start(COUNT_2, Scripted(new_step), name="new")
    asked = [
        (await engine.queue.enqueue(COUNT_1, OldParams(name="a"), **ASKED)).id
        if number % 2
        else (await engine.queue.enqueue(COUNT_2, Params(names=["a"]), **ASKED)).id
        for number in range(20)
    ]
    tasks: list[Task] = [await engine.until_ended(task_id) for task_id in asked]
    assert {task.status for task in tasks} == {Status.COMPLETE}
    assert {task.done for task in tasks} == {LAST}
    for task in tasks:
        assert task.result is not None
        assert task.result["by"] == task.version


@ensureDeferred
async def test_a_failed_first_step_leaves_the_row_to_old_code(engine: Engine) -> None:
    """The row changes its version together with its first checkpoint, not before."""
    versions = []

    def step(txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        versions.append(txn.value("SELECT version FROM scheduled_tasks"))
        raise ValueError

    await stop_half_way(engine, COUNT_1, OldParams(name="a"))
    await engine.execute("UPDATE scheduled_tasks SET max_attempts = 1")
    await engine.start(COUNT_2, Scripted(step))
    (task,) = (await engine.queue.find()).tasks
    task = await engine.until_ended(task.id)
    assert (task.status, task.version, task.params) == (Status.FAILED, 1, {"name": "a"})
    assert versions == [2]


def test_upcasts_are_chained() -> None:
    """From version 1 by way of version 2 to version 3."""

    def more(cursor: dict[str, Any]) -> dict[str, Any]:
        return {"at": cursor["at"] * 10}

    spec = TaskSpec(
        action="count",
        version=3,
        params=OldParams,
        cursor=OldCursor,
        upcasts=(Upcast(1, cursor=more), Upcast(2, cursor=more)),
    )
    assert [spec.read_cursor('{"at": 1}', version).at for version in (1, 2, 3)] == [100, 10, 1]
    assert spec.read_params('{"name": "a"}', 1) == OldParams(name="a")


def test_a_gap_between_versions_is_refused() -> None:
    """A row of version 1 cannot become one of version 3 by an upcast to version 2."""
    registry = TaskRegistry()
    with pytest.raises(RegistryError):
        registry.register(evolve(COUNT_2, version=3), Scripted(new_step))
    registry.register(COUNT_1, Scripted(old_step))
    with pytest.raises(RegistryError):
        registry.register(COUNT_2, Scripted(new_step))
