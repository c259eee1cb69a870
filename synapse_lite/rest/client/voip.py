"""TURN servers for calls."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.voip import TurnServers
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes


class VoipApi:
    def __init__(self, turn_servers: TurnServers) -> None:
        self._turn_servers = turn_servers

    def routes(self) -> list[Route]:
        return client_routes("GET", "/voip/turnServer", self.turn_server, Access.GUEST)

    async def turn_server(self, _request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/voip/turnServer`"""
        return self._turn_servers.credentials(requester)
