"""The past of a room."""

from attrs import evolve

from synapse_lite.canonical_json import JsonObject, decode_object
from synapse_lite.handlers.filters import EventFilter, read_event_filter
from synapse_lite.handlers.history import MAX_LIMIT, HistoryHandler
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.tokens import read_page_token
from synapse_lite.http.access import Access
from synapse_lite.http.request import REQUIRED, Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.paging import goes_backwards

DEFAULT_LIMIT = 10
LARGE_LIMIT = 100
TIMESTAMP = "/_matrix/client/v1/rooms/{room_id}/timestamp_to_event"


class HistoryApi:
    def __init__(self, history: HistoryHandler) -> None:
        self._history = history

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/rooms/{room_id}/messages", self.messages, Access.GUEST),
            *client_routes("GET", "/rooms/{room_id}/context/{event_id}", self.context, Access.GUEST),
            *client_routes("GET", "/rooms/{room_id}/event/{event_id}", self.event, Access.GUEST),
            *client_routes("GET", "/events/{event_id}", self.event_of_any_room, Access.GUEST),
            Route("GET", TIMESTAMP, self.near, Access.USER),
        ]

    async def messages(
        self, request: Request, requester: Requester, room_id: str, *, raw: bool = False
    ) -> JsonObject:
        """`GET /_matrix/client/v3/rooms/{roomId}/messages`; `raw`: as servers exchange the events"""
        selection = _selection(request)
        if raw:
            selection = evolve(selection, raw=True)
        if selection.limit > LARGE_LIMIT:
            await request.expect_large_answer()
        return await self._history.messages(
            requester,
            room_id,
            read_page_token(request.query("from")),
            read_page_token(request.query("to")),
            backwards=goes_backwards(request),
            selection=selection,
        )

    async def context(
        self, request: Request, requester: Requester, room_id: str, event_id: str
    ) -> JsonObject:
        """`GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}`"""
        selection = _selection(request)
        if selection.limit > LARGE_LIMIT or not selection.lazy_load_members:
            await request.expect_large_answer()
        return await self._history.context(requester, room_id, event_id, selection)

    async def event(self, _request: Request, requester: Requester, room_id: str, event_id: str) -> Response:
        """`GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`"""
        return Response(200, await self._history.event(requester, room_id, event_id))

    async def event_of_any_room(self, _request: Request, requester: Requester, event_id: str) -> Response:
        """`GET /_matrix/client/v3/events/{eventId}`"""
        return Response(200, await self._history.event_of_any_room(requester, event_id))

    async def near(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event`"""
        direction = request.query_choice("dir", ("f", "b"), REQUIRED)
        return await self._history.near(
            requester, room_id, request.query_int("ts"), backwards=direction == "b"
        )


def _selection(request: Request) -> EventFilter:
    """The `filter` parameter; `limit` stands beside it, and counts."""
    text = request.query("filter")
    body = decode_object(text) if text else {}
    body["limit"] = min(request.query_int("limit", DEFAULT_LIMIT), MAX_LIMIT)
    return read_event_filter(body, MAX_LIMIT)
