"""Statistics of the database."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.statistics import DatabaseStatistics
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route


class StatisticsApi:
    def __init__(self, statistics: DatabaseStatistics) -> None:
        self._statistics = statistics

    def routes(self) -> list[Route]:
        path = "/_synapse/admin/v1/statistics/database/rooms"
        return [Route("GET", path, self.rooms, Access.ADMIN)]

    async def rooms(self, _request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/statistics/database/rooms`"""
        return {"rooms": await self._statistics.rooms()}
