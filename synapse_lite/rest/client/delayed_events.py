"""Events that are sent later (MSC4140). They are asked for where events are sent: see `delay_of`."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.delayed_events import DelayedEvents
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import CREDENTIALS_BODY, Route
from synapse_lite.rest.body import text

PATH = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
MAX_ACTION = 64


class DelayedEventsApi:
    def __init__(self, delayed: DelayedEvents) -> None:
        self._delayed = delayed

    def routes(self) -> list[Route]:
        one = f"{PATH}/{{delay_id}}"
        return [
            Route("GET", PATH, self.to_come, Access.GUEST),
            Route("GET", one, self.one, Access.GUEST),
            Route("POST", one, self.update, Access.NONE, max_body=CREDENTIALS_BODY),
            Route("POST", f"{one}/{{action}}", self.update, Access.NONE, max_body=CREDENTIALS_BODY),
        ]

    async def to_come(self, _request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events`"""
        return {"delayed_events": await self._delayed.to_come(requester)}

    async def one(self, _request: Request, requester: Requester, delay_id: str) -> JsonObject:
        """`GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}`"""
        return await self._delayed.one(requester, delay_id)

    async def update(self, request: Request, delay_id: str, action: str | None = None) -> JsonObject:
        """`POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}`, with the action in the body or in the path"""
        if action is None:
            action = text(request.json_object(), "action", MAX_ACTION)
        await self._delayed.update(delay_id, action, request.client_ip)
        return {}


def delay_of(request: Request) -> int | None:
    """Milliseconds until the event is to be sent; None: at once."""
    return request.query_int("org.matrix.msc4140.delay", None)
