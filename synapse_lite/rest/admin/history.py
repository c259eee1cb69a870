"""The past of rooms, for administrators, who need not be in them."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.admin_history import FetchEvent
from synapse_lite.handlers.history import HistoryHandler
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.client.history import HistoryApi
from synapse_lite.rest.paging import goes_backwards

V1 = "/_synapse/admin/v1"


class AdminHistoryApi:
    """`history` sees everything."""

    def __init__(self, history: HistoryHandler, fetch: FetchEvent) -> None:
        self._history = history
        self._pages = HistoryApi(history)
        self._fetch = fetch

    def routes(self) -> list[Route]:
        room = f"{V1}/rooms/{{room_id}}"
        return [
            Route("GET", f"{room}/messages", self.messages, Access.ADMIN),
            Route("GET", f"{room}/context/{{event_id}}", self.context, Access.ADMIN),
            Route("GET", f"{room}/timestamp_to_event", self.near, Access.ADMIN),
            Route("GET", f"{V1}/fetch_event/{{event_id}}", self.fetch, Access.ADMIN),
        ]

    async def messages(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/rooms/{room_id}/messages`"""
        return await self._pages.messages(request, requester, room_id, raw=request.query_bool("raw"))

    async def context(
        self, request: Request, requester: Requester, room_id: str, event_id: str
    ) -> JsonObject:
        """`GET /_synapse/admin/v1/rooms/{room_id}/context/{event_id}`"""
        return await self._pages.context(request, requester, room_id, event_id)

    async def near(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/rooms/{room_id}/timestamp_to_event`"""
        backwards = goes_backwards(request)
        return await self._history.near(requester, room_id, request.query_int("ts"), backwards=backwards)

    async def fetch(self, _request: Request, _requester: Requester, event_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/fetch_event/{event_id}`"""
        return {"event": await self._fetch.fetch(event_id)}
