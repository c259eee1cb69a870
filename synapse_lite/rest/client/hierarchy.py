"""The rooms of a space."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.hierarchy import MAX_PAGE, Hierarchy, HierarchyQuery
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route

_PATHS = (
    "/_matrix/client/v1/rooms/{room_id}/hierarchy",
    "/_matrix/client/unstable/org.matrix.msc2946/rooms/{room_id}/hierarchy",
)


class HierarchyApi:
    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy

    def routes(self) -> list[Route]:
        return [Route("GET", path, self.get, Access.GUEST) for path in _PATHS]

    async def get(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v1/rooms/{roomId}/hierarchy`"""
        query = HierarchyQuery(
            suggested_only=request.query_bool("suggested_only"),
            limit=request.query_int("limit", MAX_PAGE, minimum=1),
            max_depth=request.query_int("max_depth", None),
            since=request.query("from") or None,
        )
        return await self._hierarchy.page(requester, room_id, query)
