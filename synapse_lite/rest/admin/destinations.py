"""Other servers, as destinations, for administrators."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.federation.destinations import Destinations, Page
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.paging import admin_limit, goes_backwards

PATH = "/_synapse/admin/v1/federation/destinations"
ORDERS = (
    "destination",
    "retry_last_ts",
    "retry_interval",
    "failure_ts",
    "last_successful_stream_ordering",
)


class DestinationsApi:
    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations

    def routes(self) -> list[Route]:
        one = f"{PATH}/{{destination}}"
        return [
            Route("GET", PATH, self.find, Access.ADMIN),
            Route("GET", one, self.show, Access.ADMIN),
            Route("GET", f"{one}/rooms", self.rooms, Access.ADMIN),
            Route("POST", f"{one}/reset_connection", self.reset, Access.ADMIN),
        ]

    async def find(self, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/federation/destinations`"""
        order = request.query_choice("order_by", ORDERS, ORDERS[0])
        return await self._destinations.find(request.query("destination") or "", order, _page(request))

    async def show(self, _request: Request, _requester: Requester, destination: str) -> JsonObject:
        """`GET /_synapse/admin/v1/federation/destinations/{destination}`"""
        return await self._destinations.show(destination)

    async def rooms(self, request: Request, _requester: Requester, destination: str) -> JsonObject:
        """`GET /_synapse/admin/v1/federation/destinations/{destination}/rooms`"""
        return await self._destinations.rooms(destination, _page(request))

    async def reset(self, _request: Request, _requester: Requester, destination: str) -> JsonObject:
        """`POST /_synapse/admin/v1/federation/destinations/{destination}/reset_connection`"""
        await self._destinations.reset(destination)
        return {}


def _page(request: Request) -> Page:
    return Page(
        request.query_int("from", 0),
        admin_limit(request),
        goes_backwards(request),
    )
