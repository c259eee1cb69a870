"""Sending messages and redactions."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.sending import Sending
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.gate import Gate


class SendApi:
    def __init__(self, gate: Gate, sending: Sending) -> None:
        self._gate = gate
        self._sending = sending

    def routes(self) -> list[Route]:
        return [
            *client_routes("PUT", "/rooms/{room_id}/send/{event_type}/{txn_id}", self.send),
            *client_routes("PUT", "/rooms/{room_id}/redact/{event_id}/{txn_id}", self.redact),
        ]

    async def send(self, request: Request, room_id: str, event_type: str, txn_id: str) -> JsonObject:
        """`PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`"""
        requester = await self._gate.requester(request, allow_guest=True)
        content = request.json_object()
        return {"event_id": await self._sending.message(requester, room_id, event_type, txn_id, content)}

    async def redact(self, request: Request, room_id: str, event_id: str, txn_id: str) -> JsonObject:
        """`PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}`"""
        requester = await self._gate.requester(request, allow_guest=True)
        content = request.json_object(allow_empty=True)
        return {"event_id": await self._sending.redact(requester, room_id, event_id, txn_id, content)}
