"""Who is there."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.presence import PresenceHandler
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.matrix.presence import STATES
from synapse_lite.rest.body import optional_text, text

MAX_STATUS = 2_000


class PresenceApi:
    def __init__(self, presence: PresenceHandler) -> None:
        self._presence = presence

    def routes(self) -> list[Route]:
        path = "/presence/{user_id}/status"
        return [
            *client_routes("GET", path, self.read, Access.GUEST),
            *client_routes("PUT", path, self.put, Access.GUEST),
        ]

    async def read(self, _request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/presence/{userId}/status`"""
        return await self._presence.read(requester, user_id)

    async def put(self, request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`PUT /_matrix/client/v3/presence/{userId}/status`"""
        body = request.json_object()
        state = text(body, "presence", MAX_STATUS)
        if state not in STATES:
            raise invalid_param(f"'presence' must be one of: {', '.join(STATES)}")
        await self._presence.put(requester, user_id, state, optional_text(body, "status_msg", MAX_STATUS))
        return {}
