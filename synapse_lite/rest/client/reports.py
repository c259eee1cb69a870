"""Telling the operators of what should not be here."""

from synapse_lite.canonical_json import MAX_SAFE_INTEGER, JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.reports import Reports
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.body import optional_text, parameter, text

MAX_REASON = 10_000


class ReportsApi:
    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def routes(self) -> list[Route]:
        return [
            *client_routes("POST", "/rooms/{room_id}/report", self.room, Access.USER),
            *client_routes("POST", "/rooms/{room_id}/report/{event_id}", self.event, Access.USER),
            *client_routes("POST", "/users/{user_id}/report", self.user, Access.USER),
        ]

    async def room(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/report`"""
        await self._reports.room(requester, room_id, text(request.json_object(), "reason", MAX_REASON))
        return {}

    async def event(self, request: Request, requester: Requester, room_id: str, event_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}`"""
        body = request.json_object(allow_empty=True)
        reason, score = optional_text(body, "reason", MAX_REASON), parameter(body, "score", int, None)
        if score is not None and abs(score) > MAX_SAFE_INTEGER:
            raise invalid_param("Parameter 'score' is out of range")
        await self._reports.event(requester, room_id, event_id, reason, score)
        return {}

    async def user(self, request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/users/{userId}/report`"""
        await self._reports.user(requester, user_id, text(request.json_object(), "reason", MAX_REASON))
        return {}
