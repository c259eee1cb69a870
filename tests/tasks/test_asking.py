"""Tasks whose steps need what only others can tell."""

from typing import Any

from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.queue import Status
from synapse_lite.tasks.specs import TaskSpec, TaskView
from tests.tasks.conftest import ADMIN, Engine

ASKED = {"requester": ADMIN, "endpoint": "POST /test"}


class Params(TaskModel):
    pass


class Cursor(TaskModel):
    steps: int = 0


SPEC = TaskSpec(action="asking", version=1, params=Params, cursor=Cursor)


@define
class Asking:
    """Three steps, each of which has to be told something; `answers` are given one after the other, exceptions raised."""

    answers: list[Any]
    asked: int = 0
    told: list[Any] = field(factory=list)

    async def ask(self, _task: TaskView[Params, Cursor]) -> Any:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return await answer if isinstance(answer, Deferred) else answer

    def step(self, _txn: Transaction, task: TaskView[Params, Cursor]) -> Outcome:
        self.told.append(task.answer)
        steps = (task.cursor or Cursor()).steps + 1
        return Done({"steps": steps}) if steps == 3 else Next(Cursor(steps=steps))


@ensureDeferred
async def test_each_step_is_told_what_was_asked_for_it(engine: Engine) -> None:
    """What fails is asked again, and the step that needed it is not done before."""
    handler = Asking(["one", ValueError("no answer"), "two", "three"])
    await engine.start(SPEC, handler)
    task = await engine.queue.enqueue(SPEC, Params(), **ASKED)
    ended = await engine.until_ended(task.id)
    assert (ended.status, ended.result) == (Status.COMPLETE, {"steps": 3})
    assert handler.told == ["one", "two", "three"]
    assert handler.asked == 4


@ensureDeferred
async def test_a_cancelled_task_asks_for_nothing_more(engine: Engine) -> None:
    """A cancel that comes while it waits for an answer takes effect when that is there: its step is not done."""
    waiting: Deferred[str] = Deferred()
    handler = Asking([waiting])
    await engine.start(SPEC, handler)
    task = await engine.queue.enqueue(SPEC, Params(), **ASKED)
    await engine.until(task.id, lambda one: one.status is Status.ACTIVE)
    await engine.queue.cancel(task.id)
    waiting.callback("late")
    ended = await engine.until_ended(task.id)
    assert ended.status is Status.CANCELLED
    assert handler.told == []
