"""A task that tidies up: one part after the other, some rows a step."""

from collections.abc import Callable, Mapping

from attrs import frozen
from pydantic import Field

from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

Part = Callable[[Transaction, int, int], tuple[int, int | None]]
"""Called with a transaction, where to go on (0 at first) and how many rows to look at; returns how many
rows it changed, and where to go on, None when nothing is left."""


class CleanupParams(TaskModel):
    """None."""


class CleanupCursor(TaskModel):
    """`part` is the index of the part under way; `counts` are the rows by part."""

    part: int = 0
    after: int = 0
    counts: dict[str, int] = Field(default_factory=dict)


@frozen
class Cleanup:
    """The step of a task made by `periodic_cleanup`. The result counts the rows of each part."""

    parts: Mapping[str, Part]

    def step(self, txn: Transaction, task: TaskView[CleanupParams, CleanupCursor]) -> Outcome:
        cursor = task.cursor or CleanupCursor()
        names = list(self.parts)
        if cursor.part >= len(names):
            return Done(cursor.counts)
        name = names[cursor.part]
        rows, after = self.parts[name](txn, cursor.after, task.batch)
        counts = {**cursor.counts, name: cursor.counts.get(name, 0) + rows}
        part = cursor.part if after is not None else cursor.part + 1
        return Next(CleanupCursor(part=part, after=after or 0, counts=counts), done=rows, phase=name)


def periodic_cleanup(action: str, every_seconds: int) -> TaskSpec[CleanupParams, CleanupCursor]:
    return TaskSpec(
        action=action,
        version=1,
        params=CleanupParams,
        cursor=CleanupCursor,
        lock=lambda _: f"periodic:{action}",
        needs_admin=False,
        every_seconds=every_seconds,
    )


def until_none_left(delete: Callable[[Transaction, int], int]) -> Part:
    """A part out of a function (txn, limit) that says how many rows it deleted."""

    def part(txn: Transaction, _after: int, limit: int) -> tuple[int, int | None]:
        rows = delete(txn, limit)
        return rows, 0 if rows == limit else None

    return part
