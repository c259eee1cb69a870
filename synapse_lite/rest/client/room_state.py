"""The state of rooms: reading and setting it."""

import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.delayed_events import DelayedEvents
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_state import MemberQuery, RoomState
from synapse_lite.handlers.send_event import SendEvent
from synapse_lite.http.access import Access
from synapse_lite.http.json_stream import body_of, json_chunks
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.client.delayed_events import delay_of
from synapse_lite.rest.client.said import said_by

MEMBERSHIPS = ("join", "invite", "knock", "leave", "ban")


class RoomStateApi:
    def __init__(self, room_state: RoomState, sending: SendEvent, delayed: DelayedEvents) -> None:
        self._room_state = room_state
        self._sending = sending
        self._delayed = delayed

    def routes(self) -> list[Route]:
        one = "/rooms/{room_id}/state/{event_type}"
        return [
            *client_routes("GET", "/rooms/{room_id}/state", self.all, Access.GUEST),
            *client_routes("GET", one, self.get, Access.GUEST),
            *client_routes("GET", f"{one}/{{state_key}}", self.get, Access.GUEST),
            *client_routes("PUT", one, self.put, Access.GUEST),
            *client_routes("PUT", f"{one}/{{state_key}}", self.put, Access.GUEST),
            *client_routes("GET", "/rooms/{room_id}/members", self.members, Access.GUEST),
            *client_routes("GET", "/rooms/{room_id}/joined_members", self.joined_members, Access.GUEST),
        ]

    async def all(self, request: Request, requester: Requester, room_id: str) -> Response:
        """`GET /_matrix/client/v3/rooms/{roomId}/state`"""
        await request.expect_large_answer()
        pages = self._room_state.all(requester, room_id)
        return Response(200, await body_of(json_chunks(b"[", pages, b"]")))

    async def get(
        self, request: Request, requester: Requester, room_id: str, event_type: str, state_key: str = ""
    ) -> JsonObject | Response:
        """`GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`"""
        if request.query_choice("format", ("content", "event"), "content") == "event":
            event = await self._room_state.event(requester, room_id, event_type, state_key)
            return Response(200, orjson.dumps(event))
        return await self._room_state.content(requester, room_id, event_type, state_key)

    async def put(
        self, request: Request, requester: Requester, room_id: str, event_type: str, state_key: str = ""
    ) -> JsonObject:
        """`PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`"""
        content, delay_ms = request.json_object(), delay_of(request)
        if delay_ms is not None:
            delay_id = await self._delayed.state(requester, room_id, event_type, state_key, content, delay_ms)
            return {"delay_id": delay_id}
        speaker = said_by(request, requester)
        return {"event_id": await self._sending.state(speaker, room_id, event_type, state_key, content)}

    async def members(self, request: Request, requester: Requester, room_id: str) -> Response:
        """`GET /_matrix/client/v3/rooms/{roomId}/members`"""
        query = MemberQuery(
            request.query("at") or None,
            request.query_choice("membership", ("", *MEMBERSHIPS), None) or None,
            request.query_choice("not_membership", ("", *MEMBERSHIPS), None) or None,
        )
        await request.expect_large_answer()
        pages = self._room_state.members(requester, room_id, query)
        return Response(200, await body_of(json_chunks(b'{"chunk":[', pages, b"]}")))

    async def joined_members(self, request: Request, requester: Requester, room_id: str) -> Response:
        """`GET /_matrix/client/v3/rooms/{roomId}/joined_members`"""
        await request.expect_large_answer()
        pages = self._room_state.joined_members(requester, room_id)
        return Response(200, await body_of(json_chunks(b'{"joined":{', pages, b"}}")))
