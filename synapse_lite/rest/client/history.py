"""The past of a room."""

from synapse_lite.canonical_json import JsonObject, decode_object
from synapse_lite.handlers.filters import EventFilter, read_event_filter
from synapse_lite.handlers.history import MAX_LIMIT, HistoryHandler
from synapse_lite.handlers.tokens import read_token
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.gate import Gate

DEFAULT_LIMIT = 10


class HistoryApi:
    def __init__(self, gate: Gate, history: HistoryHandler) -> None:
        self._gate = gate
        self._history = history

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/rooms/{room_id}/messages", self.messages),
            *client_routes("GET", "/rooms/{room_id}/context/{event_id}", self.context),
            *client_routes("GET", "/rooms/{room_id}/event/{event_id}", self.event),
        ]

    async def messages(self, request: Request, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/rooms/{roomId}/messages`"""
        requester = await self._gate.requester(request, allow_guest=True)
        start, stop = request.query("from"), request.query("to")
        return await self._history.messages(
            requester,
            room_id,
            read_token(start) if start else None,
            read_token(stop) if stop else None,
            backwards=request.query_choice("dir", ("f", "b"), "f") == "b",
            selection=_selection(request),
        )

    async def context(self, request: Request, room_id: str, event_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}`"""
        requester = await self._gate.requester(request, allow_guest=True)
        return await self._history.context(requester, room_id, event_id, _selection(request))

    async def event(self, request: Request, room_id: str, event_id: str) -> Response:
        """`GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`"""
        requester = await self._gate.requester(request, allow_guest=True)
        return Response(200, await self._history.event(requester, room_id, event_id))


def _selection(request: Request) -> EventFilter:
    """The `filter` parameter; `limit` stands beside it, and counts."""
    text = request.query("filter")
    body = decode_object(text) if text else {}
    body["limit"] = min(request.query_int("limit", DEFAULT_LIMIT), MAX_LIMIT)
    return read_event_filter(body, MAX_LIMIT)
