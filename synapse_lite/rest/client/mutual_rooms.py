"""Rooms shared with another user."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.mutual_rooms import MutualRooms
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import REQUIRED, Request
from synapse_lite.http.router import Route

_PATHS = (
    "/_matrix/client/v1/mutual_rooms",
    "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms",
)


class MutualRoomsApi:
    def __init__(self, mutual: MutualRooms) -> None:
        self._mutual = mutual

    def routes(self) -> list[Route]:
        return [Route("GET", path, self.get, Access.USER) for path in _PATHS]

    async def get(self, request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v1/mutual_rooms`"""
        other = request.query("user_id", REQUIRED)
        return await self._mutual.page(requester, other, request.query("from"))
