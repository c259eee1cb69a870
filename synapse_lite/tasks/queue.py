"""Ask for a task, watch it, cancel it, try it again: what every process may do, whether it runs tasks or not."""

from collections.abc import Callable, Collection, Sequence

import orjson
from attrs import frozen

from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.ids import random_text
from synapse_lite.replication.bus import Bus
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, Transaction, UniqueViolation
from synapse_lite.storage.tasks import (
    TASK_COLUMNS,
    ActionState,
    Children,
    FollowerState,
    NewTask,
    Runner,
    Status,
    Task,
    TaskEvent,
    TaskFilter,
    TaskItem,
    TaskOrder,
    TaskRequest,
    Unserved,
    WaitingReason,
)
from synapse_lite.tasks.context import task_request
from synapse_lite.tasks.specs import C, P, TaskSpec

__all__ = [
    "TASK_COLUMNS",
    "TOPIC",
    "ActionState",
    "Enqueued",
    "FollowerState",
    "Runner",
    "Status",
    "Task",
    "TaskDetails",
    "TaskEvent",
    "TaskFilter",
    "TaskItem",
    "TaskOrder",
    "TaskPage",
    "TaskQueue",
    "TaskRequest",
    "Unserved",
    "WaitingReason",
]

TOPIC = "tasks"
"""On the bus: a task may be there to run."""

ID_LENGTH = 16
RETRY = "retry"
"""As the action of a request."""
Control = Callable[[ActionState], tuple[bool, int | None]]
"""From what holds for an action to what shall hold: paused, max_running."""

MAX_PAGE = 1000


@frozen
class Enqueued:
    """`created` is False when a task with the same action and unique key was pending already, by another request."""

    id: str
    created: bool


@frozen
class TaskPage:
    """`next_token` is None on the last page."""

    tasks: list[Task]
    next_token: str | None


@frozen
class TaskDetails:
    """A task, its history (oldest first), how many items there are by outcome, and how many parts."""

    task: Task
    history: list[TaskEvent]
    items: dict[str, int]
    children: Children


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
        """Store what a request asks for, durably, and wake those who can run it.

        `requester` is the user who asked and `endpoint` the route; `run_at_ms` None means now.
        """
        enqueued = await self._database.transact(
            self.ask_in, spec, params, requester=requester, endpoint=endpoint, run_at_ms=run_at_ms
        )
        self.announce()
        return enqueued

    def ask_in(
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
        resource_id = spec.resource(params)
        known_id = _find_request(txn, spec.action, resource_id)
        if known_id is not None:
            return Enqueued(known_id, created=True)
        enqueued = self.enqueue_in(
            txn, spec, params, requester=requester, endpoint=endpoint, run_at_ms=run_at_ms
        )
        if enqueued.created:
            _record_request(txn, spec.action, resource_id, enqueued.id)
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
        """As `ask_in`, for what follows from something that happens: when it happens again, so does this.

        So the key of a request has no say in it, even where the request made it happen.
        """
        task = new_task(spec, params, requester=requester, endpoint=endpoint, run_at_ms=run_at_ms)
        pending_id = store.enqueue(txn, task)
        return Enqueued(pending_id, created=pending_id == task.id)

    def announce(self) -> None:
        """Wake the schedulers of all processes. Without it a task waits for their next poll."""
        self._bus.publish(TOPIC)

    async def asked_before(self, action: str, resource_id: str | None = None) -> Task | None:
        """What this request has started when it was sent before, with the same key (`Idempotency-Key`).

        To be asked before a look at anything that the task may have changed since. 422 when the key stands for another request.
        """
        if task_request.get() is None:
            return None
        return await self._database.transact(_asked_before, action, resource_id)

    async def hasten(self, spec: TaskSpec[P, C], unique_key: str) -> None:
        """Let a task of the action begin now that was to begin later, if there is one."""
        await self._database.transact(store.hasten, spec.action, unique_key)
        self.announce()

    async def get(self, task_id: str) -> Task | None:
        return await self._database.read(store.read_task, task_id)

    async def find(
        self,
        *,
        actions: Sequence[str] = (),
        resource_id: str | None = None,
        statuses: Sequence[Status] = (),
        max_timestamp_ms: int | None = None,
        parent_id: str | None = None,
        periodic: bool | None = None,
        from_token: str | None = None,
        limit: int = 100,
    ) -> TaskPage:
        """In order of the timestamp, oldest first; empty filters mean any.

        400 `M_INVALID_PARAM` for a token that is not one of ours.
        """
        wanted = TaskFilter(actions, resource_id, statuses, max_timestamp_ms, parent_id, periodic)
        tasks, token = await self._database.read(
            store.read_tasks, wanted, from_token=from_token, limit=min(limit, MAX_PAGE)
        )
        return TaskPage(tasks, token)

    async def find_sorted(self, wanted: TaskFilter, order: TaskOrder, *, offset: int, limit: int) -> TaskPage:
        """In another order, `offset` tasks left out; the next token is the offset of the next page."""
        limit = min(limit, MAX_PAGE)
        tasks, more = await self._database.read(
            store.read_sorted_tasks, wanted, order, offset=offset, limit=limit
        )
        return TaskPage(tasks, str(offset + limit) if more else None)

    async def cancel(self, task_id: str) -> Task | None:
        """Cancel a pending task: at once, or at its next step when it has begun (`cancel_requested`).

        The task afterwards; unchanged when it had ended; None when there is no such task.
        """
        task = await self._database.transact(_cancel, task_id)
        self.announce()
        return task

    async def retry(self, task_id: str, *, from_start: bool, requester: str, endpoint: str) -> Task:
        """Let a task that has ended go on from its cursor; or `from_start`, as a new task like it.

        404 when there is none; 400 `M_UNKNOWN` when it has not ended, when another task with its action and unique key
        is pending, or when nothing is left to go on with.
        """
        new_id = random_text(ID_LENGTH) if from_start else None
        try:
            task = await self._database.transact(_retry, task_id, new_id, requester, endpoint)
        except UniqueViolation:
            raise MatrixError(400, Errcode.UNKNOWN, "Another task for the same is pending already") from None
        self.announce()
        return task

    async def details(self, task_id: str) -> TaskDetails | None:
        return await self._database.snapshot(_details, task_id)

    async def actions(self) -> list[ActionState]:
        """All that any process has ever been able to run, or that are pending; by name."""
        return await self._database.read(store.read_actions)

    async def action(self, name: str) -> ActionState:
        """404 `M_NOT_FOUND` when no process was ever able to run it, and none is pending."""
        return await self._database.read(_action, name)

    async def control(self, name: str, change: Control) -> ActionState:
        """Pause, resume or limit an action: `change` gives (paused, max_running). 404 as for `action`.

        Tasks of a paused action stop at their next step, and go on from there.
        """
        state = await self._database.transact(_control, name, change)
        self.announce()
        return state

    async def items(
        self, task_id: str, *, outcome: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[TaskItem]:
        """In order of the item; the next page is `after` the last one."""
        return await self._database.read(
            store.read_items, task_id, outcome=outcome, after=after, limit=min(limit, MAX_PAGE)
        )

    async def items_by_outcome(
        self, task_id: str, outcomes: Collection[str], *, limit: int
    ) -> dict[str, list[TaskItem]]:
        """The first `limit` items of each of the outcomes."""
        return await self._database.read(
            store.read_items_by_outcome, task_id, outcomes, limit=min(limit, MAX_PAGE)
        )

    async def item_lists(self, task_id: str, outcomes: Collection[str]) -> dict[str, orjson.Fragment]:
        """By outcome all items, in order, as JSON arrays; an outcome that no item had is absent."""
        found = await self._database.read(store.list_items, task_id, outcomes)
        return {outcome: orjson.Fragment(text) for outcome, text in found.items()}

    async def history(self, task_id: str) -> list[TaskEvent]:
        return await self._database.read(store.read_history, task_id)

    async def runners(self) -> list[Runner]:
        """By name; those that died less than an hour ago too."""
        return await self._database.read(store.read_runners)

    async def followers(self) -> list[FollowerState]:
        """By name and shard."""
        return await self._database.read(store.read_followers)

    async def pause_follower(self, name: str, *, paused: bool) -> bool:
        """All shards of it, or let them go on; False when there is no follower of that name."""
        found = await self._database.transact(store.pause_follower, name, paused=paused)
        self.announce()
        return found

    async def unserved(self) -> list[Unserved]:
        """Pending tasks that no live process is able to run."""
        return await self._database.read(store.read_unserved)


def new_task(
    spec: TaskSpec[P, C],
    params: P,
    *,
    requester: str,
    endpoint: str,
    run_at_ms: int | None = None,
    parent_id: str | None = None,
) -> NewTask:
    """A row to be; with `parent_id` a part of that task."""
    return NewTask(
        id=random_text(ID_LENGTH),
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
        parent_id=parent_id,
    )


def _cancel(txn: Transaction, task_id: str) -> Task | None:
    store.request_cancel(txn, task_id)
    return store.read_task(txn, task_id)


def _find_request(txn: Transaction, action: str, resource_id: str | None) -> str | None:
    request = task_request.get()
    return None if request is None else store.find_request(txn, request, action, resource_id)


def _asked_before(txn: Transaction, action: str, resource_id: str | None) -> Task | None:
    known_id = _find_request(txn, action, resource_id)
    return None if known_id is None else store.read_task(txn, known_id)


def _record_request(txn: Transaction, action: str, resource_id: str | None, task_id: str) -> None:
    request = task_request.get()
    if request is not None:
        store.record_request(txn, request, action, resource_id, task_id)


def _retry(txn: Transaction, task_id: str, new_id: str | None, requester: str, endpoint: str) -> Task:
    known_id = _find_request(txn, RETRY, task_id)
    if known_id is not None:
        return _existing(txn, known_id)
    task = _existing(txn, task_id)
    if task.finished_at_ms is None:
        raise MatrixError(400, Errcode.UNKNOWN, f"The task is {task.status}: it has not ended")
    if new_id is None:
        _check_something_is_left(txn, task)
        store.reopen(txn, task_id, requester=requester)
    else:
        store.repeat(txn, task_id, new_id, requester=requester, endpoint=endpoint)
    _record_request(txn, RETRY, task_id, new_id or task_id)
    return _existing(txn, new_id or task_id)


def _check_something_is_left(txn: Transaction, task: Task) -> None:
    """Whoever repeats the last step of a task that is complete loses what the result counts."""
    if task.status is Status.COMPLETE:
        parts = store.count_children(txn, task.id)
        if not (parts.failed or parts.cancelled):
            raise MatrixError(400, Errcode.UNKNOWN, "The task is complete: it can only be done anew")


def _existing(txn: Transaction, task_id: str) -> Task:
    task = store.read_task(txn, task_id)
    if task is None:
        raise not_found(f"Task '{task_id}' not found")
    return task


def _details(txn: Transaction, task_id: str) -> TaskDetails | None:
    task = store.read_task(txn, task_id)
    if task is None:
        return None
    return TaskDetails(
        task,
        store.read_history(txn, task_id),
        store.count_items(txn, task_id),
        store.count_children(txn, task_id),
    )


def _action(txn: Transaction, name: str) -> ActionState:
    for state in store.read_actions(txn, name):
        return state
    raise not_found(f"Action '{name}' not found")


def _control(txn: Transaction, name: str, change: Control) -> ActionState:
    store.lock_control(txn, name)
    paused, max_running = change(_action(txn, name))
    store.write_control(txn, name, paused=paused, max_running=max_running)
    return _action(txn, name)
