"""The tasks of the server."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.gate import Gate
from synapse_lite.tasks.queue import Status, Task, TaskQueue

PAGE = 100
MAX_PAGE = 1000


class TasksApi:
    def __init__(self, gate: Gate, queue: TaskQueue) -> None:
        self._gate = gate
        self._queue = queue

    def routes(self) -> list[Route]:
        return [Route("GET", "/_synapse/admin/v1/scheduled_tasks", self.find)]

    async def find(self, request: Request) -> JsonObject:
        """`GET /_synapse/admin/v1/scheduled_tasks`: Synapse's filters, and `from` and `limit`.

        Each filter but `resource_id` and `max_timestamp` may be given several times. The next page is
        `from` the `next_token`, which is absent on the last one.
        """
        await self._gate.admin(request)
        page = await self._queue.find(
            actions=[name for name in request.query_list("action_name") if name],
            resource_id=request.query("resource_id") or None,
            statuses=_statuses(request.query_list("status") or request.query_list("job_status")),
            max_timestamp_ms=request.query_int("max_timestamp", None),
            from_token=request.query("from") or None,
            limit=max(1, min(request.query_int("limit", PAGE), MAX_PAGE)),
        )
        answer: JsonObject = {"scheduled_tasks": [_shown(task) for task in page.tasks]}
        if page.next_token is not None:
            answer["next_token"] = page.next_token
        return answer


def _statuses(words: list[str]) -> list[Status]:
    try:
        return [Status(word) for word in words]
    except ValueError:
        known = ", ".join(Status)
        raise invalid_param(f"Query parameter 'status' must be one of: {known}") from None


def _shown(task: Task) -> JsonObject:
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
        "runner": task.owner,
        "runnable_by": task.runnable_by,
        "requester": task.requester,
        "endpoint": task.endpoint,
        "created_ts": task.created_at_ms,
    }
