"""Networks behind bridges (client-server API, "Third-party networks"): none, without application services."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import not_found
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes


class ThirdPartyApi:
    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/thirdparty/protocols", self.protocols, Access.USER),
            *client_routes("GET", "/thirdparty/protocol/{protocol}", self.protocol, Access.USER),
            *client_routes("GET", "/thirdparty/location", self.nothing, Access.USER),
            *client_routes("GET", "/thirdparty/location/{protocol}", self.protocol, Access.USER),
            *client_routes("GET", "/thirdparty/user", self.nothing, Access.USER),
            *client_routes("GET", "/thirdparty/user/{protocol}", self.protocol, Access.USER),
        ]

    async def protocols(self, _request: Request, _requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/thirdparty/protocols`"""
        return {}

    async def protocol(self, _request: Request, _requester: Requester, protocol: str) -> Response:
        """`GET /_matrix/client/v3/thirdparty/{protocol|location|user}/{protocol}`"""
        raise not_found(f"Unknown protocol {protocol}")

    async def nothing(self, _request: Request, _requester: Requester) -> Response:
        """`GET /_matrix/client/v3/thirdparty/location`, `GET /_matrix/client/v3/thirdparty/user`"""
        return Response(200, b"[]")
