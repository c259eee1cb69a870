"""The directory of rooms, for other servers (server-server API, "Public Room Directory")."""

from attrs import evolve

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import forbidden
from synapse_lite.handlers.public_rooms import PublicRooms
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.client.public_rooms import query_of, read_query


class FederatedPublicRoomsApi:
    """403 `M_FORBIDDEN` unless the list is `shared` with other servers."""

    def __init__(self, directory: PublicRooms, *, shared: bool) -> None:
        self._directory = directory
        self._shared = shared

    def routes(self) -> list[Route]:
        path = "/_matrix/federation/v1/publicRooms"
        return [
            Route("GET", path, self.get, Access.SERVER),
            Route("POST", path, self.search, Access.SERVER),
        ]

    async def get(self, request: Request, _server: str) -> JsonObject:
        """`GET /_matrix/federation/v1/publicRooms`"""
        self._check_shared()
        return await self._directory.page(evolve(query_of(request), federated=True))

    async def search(self, request: Request, _server: str) -> JsonObject:
        """`POST /_matrix/federation/v1/publicRooms`"""
        self._check_shared()
        query = read_query(request.json_object(allow_empty=True))
        return await self._directory.page(evolve(query, federated=True))

    def _check_shared(self) -> None:
        if not self._shared:
            raise forbidden("This server does not share its directory of rooms")
