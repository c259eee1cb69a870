"""What only application services ask for."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.app_services.pings import ServicePings
from synapse_lite.handlers.app_services.room_lists import RoomLists
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.body import optional_text
from synapse_lite.rest.client.aliases import is_to_be_listed

MAX_TXN_ID = 255
PING_VERSIONS = ("v1", "unstable/fi.mau.msc2659")


class AppServicesApi:
    def __init__(self, pings: ServicePings, lists: RoomLists) -> None:
        self._pings = pings
        self._lists = lists

    def routes(self) -> list[Route]:
        listing = "/directory/list/appservice/{network_id}/{room_id}"
        return [
            *client_routes(
                "POST", "/appservice/{service_id}/ping", self.ping, Access.USER, versions=PING_VERSIONS
            ),
            *client_routes("PUT", listing, self.set_listed, Access.USER),
        ]

    async def ping(self, request: Request, requester: Requester, service_id: str) -> JsonObject:
        """`POST /_matrix/client/v1/appservice/{appserviceId}/ping`"""
        txn_id = optional_text(request.json_object(allow_empty=True), "transaction_id", MAX_TXN_ID)
        return {"duration_ms": await self._pings.ping(requester, service_id, txn_id)}

    async def set_listed(
        self, request: Request, requester: Requester, network_id: str, room_id: str
    ) -> JsonObject:
        """`PUT /_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}`"""
        await self._lists.set_listed(requester, network_id, room_id, is_to_be_listed(request))
        return {}
