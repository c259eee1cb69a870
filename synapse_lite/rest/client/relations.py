"""What relates to events, and threads."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.relations import MAX_LIMIT, PageRequest, RelationsHandler
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.tokens import read_page_token
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.paging import goes_backwards

DEFAULT_LIMIT = 5
V1 = ("v1",)


class RelationsApi:
    def __init__(self, relations: RelationsHandler) -> None:
        self._relations = relations

    def routes(self) -> list[Route]:
        of_event = "/rooms/{room_id}/relations/{event_id}"
        of_type = f"{of_event}/{{rel_type}}"
        of_event_type = f"{of_type}/{{event_type}}"
        return [
            *client_routes("GET", of_event, self.children, Access.GUEST, versions=V1),
            *client_routes("GET", of_type, self.children, Access.GUEST, versions=V1),
            *client_routes("GET", of_event_type, self.children, Access.GUEST, versions=V1),
            *client_routes("GET", "/rooms/{room_id}/threads", self.threads, Access.GUEST, versions=V1),
        ]

    async def children(
        self,
        request: Request,
        requester: Requester,
        room_id: str,
        event_id: str,
        rel_type: str | None = None,
        event_type: str | None = None,
    ) -> JsonObject:
        """`GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}`, all three forms"""
        return await self._relations.children(
            requester,
            room_id,
            event_id,
            _page(request, backwards=goes_backwards(request, "b")),
            rel_type=rel_type,
            event_type=event_type,
            recurse=request.query_bool("recurse"),
        )

    async def threads(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v1/rooms/{roomId}/threads`"""
        include = request.query_choice("include", ("all", "participated"), "all")
        page = _page(request, backwards=True)
        return await self._relations.threads(requester, room_id, page, participated=include == "participated")


def _page(request: Request, *, backwards: bool) -> PageRequest:
    return PageRequest(
        min(request.query_int("limit", DEFAULT_LIMIT, minimum=1), MAX_LIMIT),
        read_page_token(request.query("from")),
        read_page_token(request.query("to")),
        backwards,
    )
