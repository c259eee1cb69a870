"""The routes of sliding sync (MSC4186): that which clients use today, and that with which it was merged."""

from synapse_lite.errors import Errcode, MatrixError, invalid_param
from synapse_lite.handlers.presence import PresenceHandler
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.sliding_sync.handler import SlidingSyncHandler
from synapse_lite.handlers.sliding_sync.values import SlidingRequest
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route
from synapse_lite.matrix.experimental_features import SLIDING_SYNC
from synapse_lite.matrix.presence import ONLINE, STATES
from synapse_lite.rest.body import parameter
from synapse_lite.rest.client.sliding_sync.body import MERGED, UNSTABLE, read_request
from synapse_lite.rest.client.sync import OnSync


class SlidingSyncApi:
    """`on_sync` as of `SyncApi`."""

    def __init__(self, sync: SlidingSyncHandler, presence: PresenceHandler, on_sync: OnSync) -> None:
        self._on_sync = on_sync
        self._sync = sync
        self._presence = presence

    def routes(self) -> list[Route]:
        unstable = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
        return [
            Route("POST", unstable, self.sync_unstable, Access.GUEST),
            Route("POST", "/_matrix/client/v4/sync", self.sync, Access.GUEST),
        ]

    async def sync_unstable(self, request: Request, requester: Requester) -> Response:
        """`POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync`"""
        body = request.json_object(allow_empty=True)
        presence = request.query_choice("set_presence", STATES, ONLINE)
        pos, timeout_ms = request.query("pos"), request.query_int("timeout", 0)
        sliding = read_request(requester, body, UNSTABLE, pos, timeout_ms)
        return await self._answer(request, sliding, presence)

    async def sync(self, request: Request, requester: Requester) -> Response:
        """`POST /_matrix/client/v4/sync`"""
        body = request.json_object(allow_empty=True)
        presence = parameter(body, "set_presence", str, None) or ONLINE
        if presence not in STATES:
            raise invalid_param(f"'set_presence' must be one of {', '.join(STATES)}")
        pos = parameter(body, "pos", str, None)
        timeout_ms = max(0, parameter(body, "timeout", int, None) or 0)
        sliding = read_request(requester, body, MERGED, pos, timeout_ms)
        return await self._answer(request, sliding, presence)

    async def _answer(self, request: Request, sliding: SlidingRequest, presence: str) -> Response:
        if SLIDING_SYNC not in sliding.requester.features:
            raise MatrixError(404, Errcode.UNRECOGNIZED, "Sliding sync is turned off for this account")
        await self._on_sync(sliding.requester)
        if sliding.pos is None:
            await request.expect_large_answer()
        async with self._presence.polling(sliding.requester, presence):
            return Response(200, await self._sync.sync(sliding))
