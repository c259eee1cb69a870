"""Networks behind bridges (client-server API, "Third-party networks")."""

import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.app_services.networks import LOCATION, USER, Networks
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes

_OF_THE_REQUEST = frozenset({"access_token", "user_id", "device_id", "org.matrix.msc3202.device_id"})


class ThirdPartyApi:
    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/thirdparty/protocols", self.protocols, Access.USER),
            *client_routes("GET", "/thirdparty/protocol/{protocol}", self.protocol, Access.USER),
            *client_routes("GET", "/thirdparty/location", self.locations, Access.USER),
            *client_routes("GET", "/thirdparty/location/{protocol}", self.locations, Access.USER),
            *client_routes("GET", "/thirdparty/user", self.users, Access.USER),
            *client_routes("GET", "/thirdparty/user/{protocol}", self.users, Access.USER),
        ]

    async def protocols(self, _request: Request, _requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/thirdparty/protocols`"""
        return await self._networks.protocols()

    async def protocol(self, _request: Request, _requester: Requester, protocol: str) -> JsonObject:
        """`GET /_matrix/client/v3/thirdparty/protocol/{protocol}`"""
        return await self._networks.protocol(protocol)

    async def locations(
        self, request: Request, _requester: Requester, protocol: str | None = None
    ) -> Response:
        """`GET /_matrix/client/v3/thirdparty/location`, `GET /_matrix/client/v3/thirdparty/location/{protocol}`"""
        return await self._search(request, LOCATION, protocol)

    async def users(self, request: Request, _requester: Requester, protocol: str | None = None) -> Response:
        """`GET /_matrix/client/v3/thirdparty/user`, `GET /_matrix/client/v3/thirdparty/user/{protocol}`"""
        return await self._search(request, USER, protocol)

    async def _search(self, request: Request, kind: str, protocol: str | None) -> Response:
        fields = [(name, value) for name, value in request.query_items() if name not in _OF_THE_REQUEST]
        return Response(200, orjson.dumps(await self._networks.search(kind, protocol, fields)))
