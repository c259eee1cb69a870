"""Tasks whose parts are tasks of another action: started together, counted, and cancelled with the whole.

The parts run side by side, on all processes that are able to. When the whole is tried again, those that failed or were
cancelled go on from their cursors, and the others stay done.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from attrs import frozen

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Later, Next, Outcome
from synapse_lite.tasks.queue import new_task
from synapse_lite.tasks.specs import TaskSpec, TaskView

P = TypeVar("P", bound=TaskModel)

MAX_PARTS = 10_000
LOOK_SECONDS = 1.0
"""A part that ends wakes its parent, unless that is counting at this moment."""

STARTED = "started"
PENDING_ALREADY = "pending_already"
"""Outcomes of items: what the part is about, and the id of the task that was started, or was there already."""


class PartsCursor(TaskModel):
    """The tasks of the first `started` items are parts of this one, or were pending before."""

    started: int = 0
    pending_already: int = 0


@frozen
class Parts(Generic[P]):
    """The step: for each of the `items` that the params name a task of `spec`, with the params that `part` makes."""

    spec: TaskSpec[Any, Any]
    items: Callable[[P], Sequence[str]]
    part: Callable[[P, str], TaskModel]

    def step(self, txn: Transaction, task: TaskView[P, PartsCursor]) -> Outcome:
        cursor = task.cursor or PartsCursor()
        if cursor.started < len(self.items(task.params)):
            return self._start(txn, task, cursor)
        parts = store.count_children(txn, task.id)
        done = cursor.pending_already + parts.ended - task.done
        if parts.pending:
            return Later(cursor, LOOK_SECONDS, done=done)
        result = {
            "complete": parts.complete,
            "failed": parts.failed,
            "cancelled": parts.cancelled,
            PENDING_ALREADY: cursor.pending_already,
            "sums": store.sum_results(txn, task.id),
        }
        return Done(result, done=done)

    def on_cancel(self, txn: Transaction, task: TaskView[P, PartsCursor]) -> None:
        """Parts that were started while somebody cancelled the task are cancelled with it."""
        store.cancel_parts(txn, task.id)

    def _start(self, txn: Transaction, task: TaskView[P, PartsCursor], cursor: PartsCursor) -> Outcome:
        names = self.items(task.params)
        items = []
        for name in names[cursor.started : cursor.started + task.batch]:
            part = new_task(
                self.spec,
                self.part(task.params, name),
                requester=task.requester,
                endpoint=f"task {task.id}",
                parent_id=task.id,
            )
            part_id = store.enqueue(txn, part)
            items.append(store.TaskItem(name, STARTED if part_id == part.id else PENDING_ALREADY, part_id))
        store.record_items(txn, task.id, items)
        already = sum(item.outcome == PENDING_ALREADY for item in items)
        after = PartsCursor(
            started=cursor.started + len(items), pending_already=cursor.pending_already + already
        )
        return Next(after, done=already, phase="start", total=len(names))
