"""Data that is made anew in the background."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.background_updates import BackgroundUpdates
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.body import text

PATH = "/_synapse/admin/v1/background_updates"
MAX_NAME = 255


class BackgroundUpdatesApi:
    def __init__(self, updates: BackgroundUpdates) -> None:
        self._updates = updates

    def routes(self) -> list[Route]:
        return [
            Route("GET", f"{PATH}/enabled", self.enabled, Access.ADMIN),
            Route("POST", f"{PATH}/enabled", self.enable, Access.ADMIN),
            Route("GET", f"{PATH}/status", self.status, Access.ADMIN),
            Route("POST", f"{PATH}/start_job", self.start, Access.ADMIN),
        ]

    async def enabled(self, _request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/background_updates/enabled`"""
        return {"enabled": await self._updates.enabled()}

    async def enable(self, request: Request, _requester: Requester) -> JsonObject:
        """`POST /_synapse/admin/v1/background_updates/enabled`"""
        enabled = request.json_object().get("enabled", True)
        if not isinstance(enabled, bool):
            raise MatrixError(400, Errcode.UNKNOWN, "'enabled' parameter must be a boolean")
        await self._updates.enable(enabled=enabled)
        return {"enabled": enabled}

    async def status(self, _request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/background_updates/status`"""
        return await self._updates.status()

    async def start(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_synapse/admin/v1/background_updates/start_job`"""
        await self._updates.start(text(request.json_object(), "job_name", MAX_NAME), requester.user_id)
        return {}
