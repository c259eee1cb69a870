"""Devices that nobody uses, and their keys."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import missing_param
from synapse_lite.handlers.device_cleanup import DeviceCleanup
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.ids import MAX_ID_BYTES
from synapse_lite.rest.admin.times import past_ts
from synapse_lite.rest.body import parameter, text_list
from synapse_lite.tasks.actions.prune_devices import MAX_USERS

V1 = "/_synapse/admin/v1"


class DeviceCleanupApi:
    def __init__(self, cleanup: DeviceCleanup, clock: Clock) -> None:
        self._cleanup = cleanup
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            Route("POST", f"{V1}/prune_devices", self.prune_devices, Access.ADMIN),
            Route("POST", f"{V1}/delete_old_otks", self.delete_old_keys, Access.ADMIN),
        ]

    async def prune_devices(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_synapse/admin/v1/prune_devices`: `before_ts`, and `users` or everybody"""
        body = request.json_object()
        before_ts = self._before(body)
        if before_ts is None:
            raise missing_param("before_ts")
        users = text_list(body, "users", longest=MAX_ID_BYTES, most=MAX_USERS) if "users" in body else []
        dry_run = parameter(body, "dry_run", bool, False)
        return {
            "task_id": await self._cleanup.prune_devices(
                requester.user_id, before_ts, list(dict.fromkeys(users)), dry_run=dry_run
            )
        }

    async def delete_old_keys(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_synapse/admin/v1/delete_old_otks`: of devices not used since `before_ts`, or for a year"""
        body = request.json_object(allow_empty=True)
        dry_run = parameter(body, "dry_run", bool, False)
        task_id = await self._cleanup.delete_old_keys(requester.user_id, self._before(body), dry_run=dry_run)
        return {"task_id": task_id}

    def _before(self, body: JsonObject) -> int | None:
        value = parameter(body, "before_ts", int, None)
        return None if value is None else past_ts("before_ts", value, self._clock)
