"""What one may know of a room from outside."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.remote_summaries import RemoteSummaries
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route

_UNSTABLE = "/_matrix/client/unstable/im.nheko.summary"


class RoomSummaryApi:
    def __init__(self, summaries: RemoteSummaries) -> None:
        self._summaries = summaries

    def routes(self) -> list[Route]:
        return [
            Route("GET", path, self.get, Access.OPTIONAL)
            for path in (
                "/_matrix/client/v1/room_summary/{room_id_or_alias}",
                f"{_UNSTABLE}/summary/{{room_id_or_alias}}",
                f"{_UNSTABLE}/rooms/{{room_id_or_alias}}/summary",
            )
        ]

    async def get(self, request: Request, requester: Requester | None, room_id_or_alias: str) -> JsonObject:
        """`GET /_matrix/client/v1/room_summary/{roomIdOrAlias}`"""
        return await self._summaries.summary(requester, room_id_or_alias, request.query_list("via"))
