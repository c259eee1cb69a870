"""A task that only counts: to see that tasks run at all."""

from pydantic import NonNegativeInt

from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView


class NoopParams(TaskModel):
    """`fail_at` is the step that raises an exception, each time."""

    steps: NonNegativeInt
    fail_at: int | None = None


class NoopCursor(TaskModel):
    step: int


NOOP = TaskSpec(action="noop", version=1, params=NoopParams, cursor=NoopCursor)


class Noop:
    def step(self, txn: Transaction, task: TaskView[NoopParams, NoopCursor]) -> Outcome:
        step = 0 if task.cursor is None else task.cursor.step
        if step == task.params.fail_at:
            raise RuntimeError(f"step {step} was asked to fail")
        txn.execute("SELECT 1")
        if step == task.params.steps:
            return Done({"steps": step})
        return Next(NoopCursor(step=step + 1), done=1, total=task.params.steps)
