"""Sending messages and redactions."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.delayed_events import DelayedEvents
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.send_event import SendEvent
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.ids import random_text
from synapse_lite.rest.client.delayed_events import delay_of
from synapse_lite.rest.client.said import said_by

TXN_ID_LETTERS = 24
"""Of the id of a request that has none: it is never repeated."""


class SendApi:
    def __init__(self, sending: SendEvent, delayed: DelayedEvents) -> None:
        self._sending = sending
        self._delayed = delayed

    def routes(self) -> list[Route]:
        return [
            *client_routes("PUT", "/rooms/{room_id}/send/{event_type}/{txn_id}", self.send, Access.GUEST),
            *client_routes("PUT", "/rooms/{room_id}/redact/{event_id}/{txn_id}", self.redact, Access.GUEST),
            *client_routes("POST", "/rooms/{room_id}/send/{event_type}", self.send, Access.GUEST),
            *client_routes("POST", "/rooms/{room_id}/redact/{event_id}", self.redact, Access.GUEST),
        ]

    async def send(
        self, request: Request, requester: Requester, room_id: str, event_type: str, txn_id: str | None = None
    ) -> JsonObject:
        """`PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`, also `POST` without a transaction id"""
        content = request.json_object()
        txn_id, delay_ms = txn_id or random_text(TXN_ID_LETTERS), delay_of(request)
        if delay_ms is not None:
            delay_id = await self._delayed.message(requester, room_id, event_type, txn_id, content, delay_ms)
            return {"delay_id": delay_id}
        speaker = said_by(request, requester)
        return {"event_id": await self._sending.message(speaker, room_id, event_type, txn_id, content)}

    async def redact(
        self, request: Request, requester: Requester, room_id: str, event_id: str, txn_id: str | None = None
    ) -> JsonObject:
        """`PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}`, also `POST` without a transaction id"""
        content = request.json_object(allow_empty=True)
        txn_id = txn_id or random_text(TXN_ID_LETTERS)
        return {"event_id": await self._sending.redact(requester, room_id, event_id, txn_id, content)}
