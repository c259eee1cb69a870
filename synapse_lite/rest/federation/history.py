"""Events and states, for servers that are in their room."""

from collections.abc import Sequence

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param, missing_param
from synapse_lite.handlers.federation.history import MAX_NAMED, ServedHistory
from synapse_lite.http.access import Access
from synapse_lite.http.request import REQUIRED, Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Handler, Route
from synapse_lite.ids import MAX_ID_BYTES
from synapse_lite.rest.body import parameter, text_list

DEFAULT_MISSING = 10
V1 = "/_matrix/federation/v1"


def server_routes(method: str, path: str, handler: Handler) -> list[Route]:
    """With a slash at the end and without one: servers of old differ."""
    return [Route(method, f"{V1}{path}{end}", handler, Access.SERVER) for end in ("", "/")]


class HistoryApi:
    def __init__(self, history: ServedHistory) -> None:
        self._history = history

    def routes(self) -> list[Route]:
        return [
            *server_routes("GET", "/event/{event_id}", self.event),
            *server_routes("GET", "/state/{room_id}", self.state),
            *server_routes("GET", "/state_ids/{room_id}", self.state_ids),
            *server_routes("GET", "/event_auth/{room_id}/{event_id}", self.event_auth),
            *server_routes("GET", "/backfill/{room_id}", self.backfill),
            *server_routes("GET", "/timestamp_to_event/{room_id}", self.near),
            *server_routes("POST", "/get_missing_events/{room_id}", self.missing),
        ]

    async def event(self, _request: Request, origin: str, event_id: str) -> Response:
        """`GET /_matrix/federation/v1/event/{eventId}`"""
        return Response(200, await self._history.event(origin, event_id))

    async def state(self, request: Request, origin: str, room_id: str) -> Response:
        """`GET /_matrix/federation/v1/state/{roomId}`"""
        return Response(200, await self._history.state(origin, room_id, request.query("event_id", REQUIRED)))

    async def state_ids(self, request: Request, origin: str, room_id: str) -> Response:
        """`GET /_matrix/federation/v1/state_ids/{roomId}`"""
        return Response(
            200, await self._history.state_ids(origin, room_id, request.query("event_id", REQUIRED))
        )

    async def event_auth(self, _request: Request, origin: str, room_id: str, event_id: str) -> Response:
        """`GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}`"""
        return Response(200, await self._history.event_auth(origin, room_id, event_id))

    async def backfill(self, request: Request, origin: str, room_id: str) -> Response:
        """`GET /_matrix/federation/v1/backfill/{roomId}`"""
        event_ids = request.query_list("v")
        if not event_ids:
            raise missing_param("v")
        _check_number("v", event_ids)
        limit = request.query_int("limit")
        return Response(200, await self._history.backfill(origin, room_id, event_ids, limit))

    async def near(self, request: Request, origin: str, room_id: str) -> JsonObject:
        """`GET /_matrix/federation/v1/timestamp_to_event/{roomId}`"""
        ts, direction = request.query_int("ts"), request.query_choice("dir", ("f", "b"), REQUIRED)
        return await self._history.near(origin, room_id, ts, backwards=direction == "b")

    async def missing(self, request: Request, origin: str, room_id: str) -> Response:
        """`POST /_matrix/federation/v1/get_missing_events/{roomId}`"""
        body: JsonObject = request.json_object()
        earliest, latest = (
            text_list(body, name, longest=MAX_ID_BYTES, most=10 * MAX_NAMED)
            for name in ("earliest_events", "latest_events")
        )
        limit = parameter(body, "limit", int, DEFAULT_MISSING)
        min_depth = parameter(body, "min_depth", int, 0)
        return Response(
            200,
            await self._history.missing(
                origin, room_id, earliest, latest[:MAX_NAMED], max(0, limit), min_depth
            ),
        )


def _check_number(name: str, values: Sequence[str]) -> None:
    if len(values) > MAX_NAMED:
        raise invalid_param(f"Query parameter {name!r} may be there {MAX_NAMED} times")
