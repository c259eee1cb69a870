"""Questions of other servers about users, aliases and this server."""

from synapse_lite import __version__
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, invalid_param
from synapse_lite.handlers.federation.queries import ServedQueries
from synapse_lite.http.access import Access
from synapse_lite.http.request import REQUIRED, Request
from synapse_lite.http.router import Route
from synapse_lite.ids import check_user_id, is_room_alias
from synapse_lite.rest.client.device_keys import MAX_BODY, read_claims, read_wanted_devices

V1, UNSTABLE = "/_matrix/federation/v1", "/_matrix/federation/unstable"


class QueriesApi:
    def __init__(self, queries: ServedQueries) -> None:
        self._queries = queries

    def routes(self) -> list[Route]:
        return [
            Route("GET", f"{V1}/version", self.version, Access.NONE),
            Route("GET", f"{V1}/query/profile", self.profile, Access.SERVER),
            Route("GET", f"{V1}/query/{{query_type}}", self.unknown, Access.SERVER),
            Route("GET", f"{V1}/query/directory", self.directory, Access.SERVER),
            Route("GET", f"{UNSTABLE}/rooms/{{room_id}}/complexity", self.complexity, Access.SERVER),
            Route("GET", f"{V1}/user/devices/{{user_id}}", self.devices, Access.SERVER),
            Route("POST", f"{V1}/user/keys/query", self.keys, Access.SERVER, MAX_BODY),
            Route("POST", f"{V1}/user/keys/claim", self.claim, Access.SERVER, MAX_BODY),
        ]

    async def version(self, _request: Request) -> JsonObject:
        """`GET /_matrix/federation/v1/version`"""
        return {"server": {"name": "synapse_lite", "version": __version__}}

    async def profile(self, request: Request, _origin: str) -> JsonObject:
        """`GET /_matrix/federation/v1/query/profile`"""
        user_id = request.query("user_id", REQUIRED)
        return await self._queries.profile(check_user_id(user_id), request.query("field"))

    async def unknown(self, _request: Request, _origin: str, query_type: str) -> JsonObject:
        """`GET /_matrix/federation/v1/query/{queryType}`: of a type that this server does not know"""
        raise MatrixError(
            404, Errcode.UNRECOGNIZED, f"No handler for queries of the type {query_type[:80]!r}"
        )

    async def directory(self, request: Request, _origin: str) -> JsonObject:
        """`GET /_matrix/federation/v1/query/directory`"""
        alias = request.query("room_alias", REQUIRED)
        if not is_room_alias(alias):
            raise invalid_param("Not a room alias")
        return await self._queries.directory(alias)

    async def complexity(self, _request: Request, _origin: str, room_id: str) -> JsonObject:
        """`GET /_matrix/federation/unstable/rooms/{roomId}/complexity`"""
        return {"v1": await self._queries.complexity(room_id)}

    async def devices(self, request: Request, _origin: str, user_id: str) -> JsonObject:
        """`GET /_matrix/federation/v1/user/devices/{userId}`"""
        return await self._queries.devices(check_user_id(user_id), request.expect_large_answer)

    async def keys(self, request: Request, _origin: str) -> JsonObject:
        """`POST /_matrix/federation/v1/user/keys/query`"""
        wanted = read_wanted_devices(request.json_object())
        return await self._queries.keys(wanted, request.expect_large_answer)

    async def claim(self, request: Request, _origin: str) -> JsonObject:
        """`POST /_matrix/federation/v1/user/keys/claim`"""
        return await self._queries.claim(read_claims(request.json_object()))
