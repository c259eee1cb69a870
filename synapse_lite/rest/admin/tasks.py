"""The tasks of the server, those who run them, and their actions."""

from typing import Literal

from pydantic import Field

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.tasks import Change, TasksHandler
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.body import Body, read_body
from synapse_lite.rest.paging import admin_limit
from synapse_lite.tasks.queue import TaskOrder

MAX_RUNNING = 2**31 - 1
ADMIN = "/_synapse/admin/v1"


class RetryBody(Body):
    """Where to go on: where the task stopped, or at the start."""

    origin: Literal["cursor", "start"] = Field(default="cursor", alias="from")


class ControlBody(Body):
    """What is absent stays as it is; `max_running` null means no limit."""

    paused: bool = False
    max_running: int | None = Field(default=None, ge=1, le=MAX_RUNNING)


class FollowerBody(Body):
    """Whether all shards of a follower are to wait."""

    paused: bool


class TasksApi:
    def __init__(self, tasks: TasksHandler) -> None:
        self._tasks = tasks

    def routes(self) -> list[Route]:
        return [
            Route("GET", f"{ADMIN}/scheduled_tasks", self.find, Access.ADMIN),
            Route("GET", f"{ADMIN}/scheduled_tasks/{{task_id}}", self.show, Access.ADMIN),
            Route("POST", f"{ADMIN}/scheduled_tasks/{{task_id}}/cancel", self.cancel, Access.ADMIN),
            Route("POST", f"{ADMIN}/scheduled_tasks/{{task_id}}/retry", self.retry, Access.ADMIN),
            Route("GET", f"{ADMIN}/task_runners", self.runners, Access.ADMIN),
            Route("PUT", f"{ADMIN}/task_followers/{{name}}", self.pause_follower, Access.ADMIN),
            Route("GET", f"{ADMIN}/task_actions", self.actions, Access.ADMIN),
            Route("GET", f"{ADMIN}/task_actions/{{action}}", self.action, Access.ADMIN),
            Route("PUT", f"{ADMIN}/task_actions/{{action}}", self.control, Access.ADMIN),
        ]

    async def find(self, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/scheduled_tasks`: Synapse's filters, and `from` and `limit`.

        With `order_by` or `dir`, as lists of admin clients send them, `from` is the number of tasks to leave out.
        `periodic` (true or false) tells what the server does by itself from what somebody asked for.
        Each filter but `periodic`, `resource_id`, `parent_id` and `max_timestamp` may be given several times. The next page is
        `from` the `next_token`, which is absent on the last one.
        """
        return await self._tasks.find(
            actions=[name for name in request.query_list("action_name") if name],
            resource_id=request.query("resource_id") or None,
            statuses=request.query_list("status") or request.query_list("job_status"),
            parent_id=request.query("parent_id") or None,
            periodic=request.query_bool("periodic") if request.query("periodic") else None,
            max_timestamp_ms=request.query_int("max_timestamp", None),
            from_token=request.query("from") or None,
            limit=max(1, admin_limit(request)),
            order=_order(request),
        )

    async def show(self, _request: Request, _requester: Requester, task_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/scheduled_tasks/{task_id}`"""
        return await self._tasks.show(task_id)

    async def cancel(self, _request: Request, _requester: Requester, task_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/scheduled_tasks/{task_id}/cancel`"""
        return await self._tasks.cancel(task_id)

    async def retry(self, request: Request, requester: Requester, task_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/scheduled_tasks/{task_id}/retry`"""
        body = read_body(RetryBody, request.json_object(allow_empty=True))
        return await self._tasks.retry(
            task_id, from_start=body.origin == "start", requester=requester.user_id
        )

    async def runners(self, _request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/task_runners`"""
        return await self._tasks.runners()

    async def pause_follower(self, request: Request, _requester: Requester, name: str) -> JsonObject:
        """`PUT /_synapse/admin/v1/task_followers/{name}`"""
        body = read_body(FollowerBody, request.json_object())
        return await self._tasks.pause_follower(name, paused=body.paused)

    async def actions(self, _request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/task_actions`"""
        return await self._tasks.actions()

    async def action(self, _request: Request, _requester: Requester, action: str) -> JsonObject:
        """`GET /_synapse/admin/v1/task_actions/{action}`"""
        return await self._tasks.action(action)

    async def control(self, request: Request, _requester: Requester, action: str) -> JsonObject:
        """`PUT /_synapse/admin/v1/task_actions/{action}`"""
        body = read_body(ControlBody, request.json_object())
        given = body.model_fields_set
        change = Change(
            body.paused, body.max_running, sets_paused="paused" in given, sets_limit="max_running" in given
        )
        return await self._tasks.control(action, change)


def _order(request: Request) -> TaskOrder | None:
    column, direction = request.query("order_by"), request.query("dir")
    if not (column or direction):
        return None
    if direction not in {None, "", "f", "b"}:
        raise invalid_param("Query parameter 'dir' must be f or b")
    return TaskOrder(column or "timestamp_ms", descending=direction == "b")
