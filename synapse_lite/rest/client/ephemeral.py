"""Read receipts and typing."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.ephemeral import RECEIPT_TYPES, EphemeralHandler
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.body import parameter

DEFAULT_TYPING_MS = 30_000


class EphemeralApi:
    def __init__(self, ephemeral: EphemeralHandler) -> None:
        self._ephemeral = ephemeral

    def routes(self) -> list[Route]:
        return [
            *client_routes(
                "POST", "/rooms/{room_id}/receipt/{receipt_type}/{event_id}", self.receipt, Access.USER
            ),
            *client_routes("POST", "/rooms/{room_id}/read_markers", self.read_markers, Access.USER),
            *client_routes("PUT", "/rooms/{room_id}/typing/{user_id}", self.typing, Access.USER),
        ]

    async def receipt(
        self, request: Request, requester: Requester, room_id: str, receipt_type: str, event_id: str
    ) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}`"""
        thread_id = parameter(request.json_object(allow_empty=True), "thread_id", str, None)
        await self._ephemeral.read(requester, room_id, {receipt_type: event_id}, thread_id)
        return {}

    async def read_markers(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/read_markers`"""
        body = request.json_object()
        named = {kind: parameter(body, kind, str, None) for kind in sorted(RECEIPT_TYPES)}
        receipts = {kind: event_id for kind, event_id in named.items() if event_id is not None}
        await self._ephemeral.read(requester, room_id, receipts)
        return {}

    async def typing(self, request: Request, requester: Requester, room_id: str, user_id: str) -> JsonObject:
        """`PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}`"""
        requester.check_is(user_id, "Cannot set another user's typing state")
        body = request.json_object()
        types = parameter(body, "typing", bool)
        timeout_ms = parameter(body, "timeout", int, DEFAULT_TYPING_MS)
        await self._ephemeral.type(requester, room_id, max(0, timeout_ms) if types else 0)
        return {}
