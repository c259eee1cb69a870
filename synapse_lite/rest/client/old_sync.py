"""What clients asked before there was /sync."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.old_sync import OldSync
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.tokens import read_token
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes

DEFAULT_LIMIT = 10
MAX_LIMIT = 100


class OldSyncApi:
    def __init__(self, old: OldSync) -> None:
        self._old = old

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/initialSync", self.everything, Access.USER),
            *client_routes("GET", "/rooms/{room_id}/initialSync", self.room, Access.GUEST),
            *client_routes("GET", "/events", self.events, Access.GUEST),
        ]

    async def everything(self, request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/initialSync`"""
        with_left, limit = request.query_bool("archived"), _limit(request)
        await request.expect_large_answer()
        return await self._old.everything(requester, limit, with_left=with_left)

    async def room(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/rooms/{roomId}/initialSync`"""
        limit = _limit(request)
        await request.expect_large_answer()
        return await self._old.room(requester, room_id, limit)

    async def events(self, request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/events`"""
        since = request.query("from")
        timeout_ms = request.query_int("timeout", 0)
        return await self._old.events(requester, read_token(since).whole if since else None, timeout_ms)


def _limit(request: Request) -> int:
    return min(request.query_int("limit", DEFAULT_LIMIT), MAX_LIMIT)
