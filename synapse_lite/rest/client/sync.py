"""/sync."""

from collections.abc import Awaitable, Callable

from synapse_lite.handlers.presence import PresenceHandler
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.sync.filters import SyncFilters
from synapse_lite.handlers.sync.handler import SyncHandler
from synapse_lite.handlers.sync.values import SyncRequest
from synapse_lite.handlers.tokens import read_sync_token
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.matrix.experimental_features import STATE_AFTER
from synapse_lite.matrix.presence import ONLINE, STATES

OnSync = Callable[[Requester], Awaitable[None]]


class SyncApi:
    """`on_sync` hears of everybody who syncs."""

    def __init__(
        self, sync: SyncHandler, filters: SyncFilters, presence: PresenceHandler, on_sync: OnSync
    ) -> None:
        self._on_sync = on_sync
        self._sync = sync
        self._presence = presence
        self._filters = filters

    def routes(self) -> list[Route]:
        return client_routes("GET", "/sync", self.sync, Access.GUEST)

    async def sync(self, request: Request, requester: Requester) -> Response:
        """`GET /_matrix/client/v3/sync`"""
        since, wanted = request.query("since"), request.query("filter")
        presence = request.query_choice("set_presence", STATES, ONLINE)
        position, delivered = read_sync_token(since) if since else (None, None)
        sync_request = SyncRequest(
            requester,
            position,
            request.query_int("timeout", 0),
            await self._filters.read(requester.user_id, wanted),
            request.query_bool("full_state", default=False),
            delivered,
            state_after=_state_after(request, requester),
        )
        await self._on_sync(requester)
        if position is None or sync_request.full_state:
            await request.expect_large_answer()
        async with self._presence.polling(requester, presence):
            return Response(200, await self._sync.sync(sync_request))


def _state_after(request: Request, requester: Requester) -> str | None:
    """The name under which the client wants the state at the end of the timelines (MSC4222)."""
    if request.query_bool("use_state_after"):
        return "state_after"
    if STATE_AFTER in requester.features and request.query_bool("org.matrix.msc4222.use_state_after"):
        return "org.matrix.msc4222.state_after"
    return None
