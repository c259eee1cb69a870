"""Keys of servers, for anybody."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.federation.keys import ServerKeys, read_query
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.ids import is_server_name


class KeysApi:
    def __init__(self, keys: ServerKeys) -> None:
        self._keys = keys

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/_matrix/key/v2/server", self.own, Access.NONE),
            Route("GET", "/_matrix/key/v2/server/{key_id}", self.own, Access.NONE),
            Route("POST", "/_matrix/key/v2/query", self.query, Access.NONE),
            Route("GET", "/_matrix/key/v2/query/{server_name}", self.query_one, Access.NONE),
            Route("GET", "/_matrix/key/v2/query/{server_name}/{key_id}", self.query_one, Access.NONE),
        ]

    async def own(self, _request: Request, key_id: str = "") -> JsonObject:  # noqa: ARG002 (deprecated; all are given)
        """`GET /_matrix/key/v2/server`"""
        return self._keys.own()

    async def query(self, request: Request) -> JsonObject:
        """`POST /_matrix/key/v2/query`"""
        return await self._keys.query(read_query(request.json_object()))

    async def query_one(self, request: Request, server_name: str, key_id: str = "") -> JsonObject:  # noqa: ARG002
        """`GET /_matrix/key/v2/query/{serverName}`"""
        if not is_server_name(server_name):
            raise invalid_param("Not a server name")
        return await self._keys.query({server_name: request.query_int("minimum_valid_until_ts", 0)})
