"""Tasks, those who run them, and their actions, as the admin API shows and changes them."""

from collections.abc import Sequence

from attrs import asdict, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param, not_found
from synapse_lite.tasks.queue import (
    TASK_COLUMNS,
    ActionState,
    FollowerState,
    Runner,
    Status,
    Task,
    TaskEvent,
    TaskFilter,
    TaskOrder,
    TaskQueue,
    Unserved,
)

MAX_OFFSET_DIGITS = 9
RETRY_ENDPOINT = "POST /_synapse/admin/v1/scheduled_tasks/{id}/retry"


@frozen
class Change:
    """What to change about an action; False leaves the pause or the limit as it is."""

    paused: bool
    max_running: int | None
    sets_paused: bool
    sets_limit: bool

    def __call__(self, state: ActionState) -> tuple[bool, int | None]:
        return (
            self.paused if self.sets_paused else state.paused,
            self.max_running if self.sets_limit else state.max_running,
        )


class TasksHandler:
    """The admin API's `scheduled_tasks`, `task_runners`, `task_followers` and `task_actions`."""

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue

    async def find(
        self,
        *,
        actions: Sequence[str],
        resource_id: str | None,
        statuses: Sequence[str],
        max_timestamp_ms: int | None,
        parent_id: str | None,
        periodic: bool | None = None,
        from_token: str | None,
        limit: int,
        order: TaskOrder | None = None,
    ) -> JsonObject:
        """A page; 400 `M_INVALID_PARAM` for an unknown status, token or order.

        With an order, or a number as the token, that is how many tasks to leave out.
        """
        wanted = TaskFilter(actions, resource_id, _statuses(statuses), max_timestamp_ms, parent_id, periodic)
        if order is None and (from_token is None or not from_token.isdecimal()):
            page = await self._queue.find(
                actions=actions,
                resource_id=resource_id,
                statuses=wanted.statuses,
                max_timestamp_ms=max_timestamp_ms,
                parent_id=parent_id,
                periodic=periodic,
                from_token=from_token,
                limit=limit,
            )
        else:
            page = await self._queue.find_sorted(
                wanted, _order(order), offset=_offset(from_token), limit=limit
            )
        answer: JsonObject = {"scheduled_tasks": [_task(task) for task in page.tasks]}
        if page.next_token is not None:
            answer["next_token"] = page.next_token
        return answer

    async def show(self, task_id: str) -> JsonObject:
        """404 `M_NOT_FOUND` when there is none, as for `cancel` and `retry`."""
        details = await self._queue.details(task_id)
        if details is None:
            raise _unknown(task_id)
        return {
            **_task(details.task),
            "eta_ms": details.task.eta_ms,
            "history": [_event(event) for event in details.history],
            "items": details.items,
            "children": asdict(details.children),
            "params": details.task.params,
        }

    async def cancel(self, task_id: str) -> JsonObject:
        task = await self._queue.cancel(task_id)
        if task is None:
            raise _unknown(task_id)
        return _task(task)

    async def retry(self, task_id: str, *, from_start: bool, requester: str) -> JsonObject:
        """400 `M_UNKNOWN` when it has not ended, or when another task for the same is pending."""
        task = await self._queue.retry(
            task_id, from_start=from_start, requester=requester, endpoint=RETRY_ENDPOINT
        )
        return _task(task)

    async def runners(self) -> JsonObject:
        return {
            "runners": [_runner(runner) for runner in await self._queue.runners()],
            "unserved": [_unserved(row) for row in await self._queue.unserved()],
            "followers": [_follower(state) for state in await self._queue.followers()],
        }

    async def pause_follower(self, name: str, *, paused: bool) -> JsonObject:
        """Its shards afterwards; 404 `M_NOT_FOUND` when there is no follower of that name."""
        if not await self._queue.pause_follower(name, paused=paused):
            raise not_found(f"Follower '{name}' not found")
        found = await self._queue.followers()
        return {"followers": [_follower(state) for state in found if state.name == name]}

    async def actions(self) -> JsonObject:
        return {"actions": [_action(state) for state in await self._queue.actions()]}

    async def action(self, name: str) -> JsonObject:
        """404 `M_NOT_FOUND` when no process was ever able to run it, as for `control`."""
        return _action(await self._queue.action(name))

    async def control(self, name: str, change: Change) -> JsonObject:
        return _action(await self._queue.control(name, change))


def _order(order: TaskOrder | None) -> TaskOrder:
    if order is None:
        return TaskOrder("timestamp_ms")
    if order.column not in TASK_COLUMNS:
        raise invalid_param(f"Query parameter 'order_by' must be one of: {', '.join(TASK_COLUMNS)}")
    return order


def _offset(token: str | None) -> int:
    if token is not None and not (token.isdecimal() and len(token) <= MAX_OFFSET_DIGITS):
        raise invalid_param("Query parameter from must be a number here")
    return int(token or 0)


def _statuses(words: Sequence[str]) -> list[Status]:
    try:
        return [Status(word) for word in words]
    except ValueError:
        known = ", ".join(Status)
        raise invalid_param(f"Query parameter 'status' must be one of: {known}") from None


def _unknown(task_id: str) -> Exception:
    return not_found(f"Task '{task_id}' not found")


def _task(task: Task) -> JsonObject:
    """Synapse's seven fields first."""
    return {
        "id": task.id,
        "action": task.action,
        "status": str(task.status),
        "timestamp_ms": task.timestamp_ms,
        "resource_id": task.resource_id,
        "result": task.result,
        "error": task.error,
        "version": task.version,
        "progress": {"done": task.done, "total": task.total, "phase": task.phase},
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "priority": task.priority,
        "runner": task.owner,
        "runnable_by": task.runnable_by,
        "last_seen_runner": task.last_seen_runner,
        "waiting_reason": task.waiting_reason and str(task.waiting_reason),
        "requester": task.requester,
        "endpoint": task.endpoint,
        "parent_id": task.parent_id,
        "cancel_requested": task.cancel_requested,
        "created_ts": task.created_at_ms,
        "updated_ts": task.updated_at_ms,
        "finished_ts": task.finished_at_ms,
    }


def _event(event: TaskEvent) -> JsonObject:
    return {
        "ts": event.at_ms,
        "kind": str(event.transition),
        "runner": event.runner,
        "detail": event.detail,
    }


def _runner(runner: Runner) -> JsonObject:
    return {
        "name": runner.name,
        "runner": runner.id,
        "alive": runner.alive,
        "started_ts": runner.started_at_ms,
        "expires_ts": runner.expires_at_ms,
        "running": runner.active,
        "actions": [{"action": action, "version": version} for action, version in runner.capabilities],
    }


def _follower(state: FollowerState) -> JsonObject:
    return {
        "name": state.name,
        "shard": state.shard,
        "runner": state.owner,
        "alive": state.owner_alive,
        "position": state.position,
        "lag": state.lag,
        "slowest": state.slowest,
        "paused": state.paused,
        "attempt": state.attempt,
        "error": state.error,
        "updated_ts": state.updated_at_ms,
    }


def _unserved(row: Unserved) -> JsonObject:
    return {
        "action": row.action,
        "version": row.version,
        "count": row.count,
        "oldest_ts": row.oldest_run_at_ms,
        "last_seen_runner": row.last_seen_runner,
    }


def _action(state: ActionState) -> JsonObject:
    return {
        "action": state.action,
        "versions": state.versions,
        "paused": state.paused,
        "max_running": state.max_running,
        "pending": state.pending,
        "active": state.active,
        "runnable_by": state.runnable_by,
    }
