"""Where people are sent who come with a browser, and what clients may know of the server's neighbours."""

from collections.abc import Sequence

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route

FEDERATION_WHITELIST = "/_synapse/client/v1/config/federation_whitelist"


class LandingApi:
    """`web_client`: URL; None where / leads nowhere. `neighbours`: the only servers to federate with, None for all;
    `tells_neighbours`: to users.
    """

    def __init__(
        self, web_client: str | None, neighbours: Sequence[str] | None, *, tells_neighbours: bool
    ) -> None:
        self._web_client = web_client
        self._neighbours = neighbours
        self._tells_neighbours = tells_neighbours

    def routes(self) -> list[Route]:
        routes = []
        if self._web_client is not None:
            routes.append(Route("GET", "/", self.web_client, Access.NONE))
        if self._tells_neighbours:
            routes.append(Route("GET", FEDERATION_WHITELIST, self.federation_whitelist, Access.GUEST))
        return routes

    async def web_client(self, _request: Request) -> Response:
        """`GET /`"""
        return Response(302, b"", {"Location": self._web_client or ""}, "text/plain")

    async def federation_whitelist(self, _request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/client/v1/config/federation_whitelist` (Synapse's)"""
        return {"whitelist_enabled": self._neighbours is not None, "whitelist": list(self._neighbours or ())}
