"""Thread subscriptions (MSC4306), and pages of their changes (MSC4308)."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.thread_subscriptions import MOST, ThreadSubscriptions
from synapse_lite.handlers.tokens import read_optional_token
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.ids import MAX_ID_BYTES
from synapse_lite.rest.body import optional_text

UNSTABLE = "/_matrix/client/unstable"


class ThreadSubscriptionsApi:
    def __init__(self, subscriptions: ThreadSubscriptions) -> None:
        self._subscriptions = subscriptions

    def routes(self) -> list[Route]:
        one = f"{UNSTABLE}/io.element.msc4306/rooms/{{room_id}}/thread/{{event_id}}/subscription"
        pages = f"{UNSTABLE}/io.element.msc4308/thread_subscriptions"
        return [
            Route("GET", one, self.find, Access.USER),
            Route("PUT", one, self.subscribe, Access.USER),
            Route("DELETE", one, self.unsubscribe, Access.USER),
            Route("GET", pages, self.page, Access.USER),
        ]

    async def find(self, _request: Request, requester: Requester, room_id: str, event_id: str) -> JsonObject:
        """`GET /_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription`"""
        return {"automatic": await self._subscriptions.find(requester, room_id, event_id)}

    async def subscribe(
        self, request: Request, requester: Requester, room_id: str, event_id: str
    ) -> JsonObject:
        """`PUT /_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription`"""
        cause_id = optional_text(request.json_object(allow_empty=True), "automatic", MAX_ID_BYTES)
        await self._subscriptions.subscribe(requester, room_id, event_id, cause_id)
        return {}

    async def unsubscribe(
        self, _request: Request, requester: Requester, room_id: str, event_id: str
    ) -> JsonObject:
        """`DELETE /_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription`"""
        await self._subscriptions.unsubscribe(requester, room_id, event_id)
        return {}

    async def page(self, request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/unstable/io.element.msc4308/thread_subscriptions`"""
        request.query_choice("dir", ("b",), "b")
        return await self._subscriptions.page(
            requester,
            read_optional_token(request.query("from")),
            read_optional_token(request.query("to")),
            request.query_int("limit", MOST, minimum=1),
        )
