"""Ask for a task, watch it, cancel it: what every process may do, whether it runs tasks or not."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.ids import random_text
from synapse_lite.replication.bus import Bus
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.tasks import (
    NewTask,
    Runner,
    Status,
    Task,
    TaskEvent,
    TaskFilter,
    TaskItem,
    Unserved,
)
from synapse_lite.tasks.specs import C, P, TaskSpec

__all__ = [
    "TOPIC",
    "Enqueued",
    "Runner",
    "Status",
    "Task",
    "TaskEvent",
    "TaskItem",
    "TaskPage",
    "TaskQueue",
    "Unserved",
]

TOPIC = "tasks"
"""On the bus: a task may be there to run."""

ID_LENGTH = 16
MAX_PAGE = 1000


@frozen
class Enqueued:
    """`created` is False when a task with the same action and unique key was pending already."""

    id: str
    created: bool


@frozen
class TaskPage:
    """`next_token` is None on the last page."""

    tasks: list[Task]
    next_token: str | None


class TaskQueue:
    """Tasks, by id and by page."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus

    async def enqueue(
        self,
        spec: TaskSpec[P, C],
        params: P,
        *,
        requester: str,
        endpoint: str,
        run_at_ms: int | None = None,
    ) -> Enqueued:
        """Store a task, durably, and wake those who can run it.

        `requester` is the user who asked and `endpoint` the route; `run_at_ms` None means now.
        """
        enqueued = await self._database.transact(
            self.enqueue_in, spec, params, requester=requester, endpoint=endpoint, run_at_ms=run_at_ms
        )
        self.announce()
        return enqueued

    def enqueue_in(
        self,
        txn: Transaction,
        spec: TaskSpec[P, C],
        params: P,
        *,
        requester: str,
        endpoint: str,
        run_at_ms: int | None = None,
    ) -> Enqueued:
        """As `enqueue`, in a transaction of the caller, who calls `announce` after the commit."""
        task_id = random_text(ID_LENGTH)
        task = NewTask(
            id=task_id,
            action=spec.action,
            version=spec.version,
            params=params.model_dump_json(),
            requester=requester,
            endpoint=endpoint,
            resource_id=spec.resource(params),
            unique_key=spec.unique(params),
            lock_key=spec.lock(params),
            priority=spec.priority,
            max_attempts=spec.max_attempts,
            run_at_ms=run_at_ms,
        )
        pending_id = store.enqueue(txn, task)
        return Enqueued(pending_id, created=pending_id == task_id)

    def announce(self) -> None:
        """Wake the schedulers of all processes. Without it a task waits for their next poll."""
        self._bus.publish(TOPIC)

    async def get(self, task_id: str) -> Task | None:
        return await self._database.read(store.read_task, task_id)

    async def find(
        self,
        *,
        actions: Sequence[str] = (),
        resource_id: str | None = None,
        statuses: Sequence[Status] = (),
        max_timestamp_ms: int | None = None,
        from_token: str | None = None,
        limit: int = 100,
    ) -> TaskPage:
        """In order of the timestamp, oldest first; empty filters mean any.

        400 `M_INVALID_PARAM` for a token that is not one of ours.
        """
        wanted = TaskFilter(actions, resource_id, statuses, max_timestamp_ms)
        tasks, token = await self._database.read(
            store.read_tasks, wanted, from_token=from_token, limit=min(limit, MAX_PAGE)
        )
        return TaskPage(tasks, token)

    async def cancel(self, task_id: str) -> Task | None:
        """Cancel a pending task: at once, or at its next step when it has begun (`cancel_requested`).

        The task afterwards; unchanged when it had ended; None when there is no such task.
        """
        task = await self._database.transact(_cancel, task_id)
        self.announce()
        return task

    async def items(
        self, task_id: str, *, outcome: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[TaskItem]:
        """In order of the item; the next page is `after` the last one."""
        return await self._database.read(
            store.read_items, task_id, outcome=outcome, after=after, limit=min(limit, MAX_PAGE)
        )

    async def history(self, task_id: str) -> list[TaskEvent]:
        return await self._database.read(store.read_history, task_id)

    async def runners(self) -> list[Runner]:
        return await self._database.read(store.read_runners)

    async def unserved(self) -> list[Unserved]:
        """Pending tasks that no live process is able to run."""
        return await self._database.read(store.read_unserved)


def _cancel(txn: Transaction, task_id: str) -> Task | None:
    store.request_cancel(txn, task_id)
    return store.read_task(txn, task_id)
