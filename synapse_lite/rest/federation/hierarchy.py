"""Spaces, for other servers."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.hierarchy import Hierarchy
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route


class FederatedHierarchyApi:
    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy

    def routes(self) -> list[Route]:
        return [Route("GET", "/_matrix/federation/v1/hierarchy/{room_id}", self.get, Access.SERVER)]

    async def get(self, request: Request, server: str, room_id: str) -> JsonObject:
        """`GET /_matrix/federation/v1/hierarchy/{roomId}`"""
        suggested_only = request.query_bool("suggested_only")
        return await self._hierarchy.for_server(server, room_id, suggested_only=suggested_only)
