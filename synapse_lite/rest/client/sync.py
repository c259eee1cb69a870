"""/sync."""

from synapse_lite.canonical_json import JsonObject, decode_object
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.account_data import AccountData
from synapse_lite.handlers.auth import Requester
from synapse_lite.handlers.filters import SyncFilter, read_sync_filter
from synapse_lite.handlers.sync.handler import SyncHandler
from synapse_lite.handlers.sync.values import SyncRequest
from synapse_lite.handlers.tokens import read_token
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.gate import Gate

PRESENCES = ("online", "offline", "unavailable")


class SyncApi:
    """`timeline_limit`: the most events that a filter may ask for, -1 for no limit."""

    def __init__(self, gate: Gate, sync: SyncHandler, account_data: AccountData, timeline_limit: int) -> None:
        self._gate = gate
        self._sync = sync
        self._account_data = account_data
        self._timeline_limit = timeline_limit if timeline_limit >= 0 else 1000

    def routes(self) -> list[Route]:
        return client_routes("GET", "/sync", self.sync)

    async def sync(self, request: Request) -> Response:
        """`GET /_matrix/client/v3/sync`"""
        requester = await self._gate.requester(request, allow_guest=True)
        since = request.query("since")
        request.query_choice("set_presence", PRESENCES, "online")
        wanted = SyncRequest(
            requester,
            read_token(since) if since else None,
            request.query_int("timeout", 0),
            await self._filter(requester, request.query("filter")),
            request.query_bool("full_state", default=False),
        )
        return Response(200, await self._sync.sync(wanted))

    async def _filter(self, requester: Requester, text: str | None) -> SyncFilter:
        """A filter given as JSON, or by the id that `POST …/filter` answered."""
        if not text:
            return SyncFilter()
        body: JsonObject
        if text.startswith("{"):
            body = decode_object(text)
        elif text.isdecimal():
            body = await self._account_data.filter(requester.user_id, text)
        else:
            raise invalid_param("Invalid filter ID")
        return read_sync_filter(body, self._timeline_limit)
