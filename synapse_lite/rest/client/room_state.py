"""The state of rooms: reading and setting it."""

import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.room_state import MemberQuery, RoomState
from synapse_lite.handlers.sending import Sending
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.gate import Gate

MEMBERSHIPS = ("join", "invite", "knock", "leave", "ban")


class RoomStateApi:
    def __init__(self, gate: Gate, room_state: RoomState, sending: Sending) -> None:
        self._gate = gate
        self._room_state = room_state
        self._sending = sending

    def routes(self) -> list[Route]:
        one = "/rooms/{room_id}/state/{event_type}"
        return [
            *client_routes("GET", "/rooms/{room_id}/state", self.all),
            *client_routes("GET", one, self.get),
            *client_routes("GET", f"{one}/{{state_key}}", self.get),
            *client_routes("PUT", one, self.put),
            *client_routes("PUT", f"{one}/{{state_key}}", self.put),
            *client_routes("GET", "/rooms/{room_id}/members", self.members),
            *client_routes("GET", "/rooms/{room_id}/joined_members", self.joined_members),
        ]

    async def all(self, request: Request, room_id: str) -> Response:
        """`GET /_matrix/client/v3/rooms/{roomId}/state`"""
        requester = await self._gate.requester(request, allow_guest=True)
        return Response(200, orjson.dumps(await self._room_state.all(requester, room_id)))

    async def get(
        self, request: Request, room_id: str, event_type: str, state_key: str = ""
    ) -> JsonObject | Response:
        """`GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`"""
        requester = await self._gate.requester(request, allow_guest=True)
        if request.query_choice("format", ("content", "event"), "content") == "event":
            event = await self._room_state.event(requester, room_id, event_type, state_key)
            return Response(200, orjson.dumps(event))
        return await self._room_state.content(requester, room_id, event_type, state_key)

    async def put(self, request: Request, room_id: str, event_type: str, state_key: str = "") -> JsonObject:
        """`PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`"""
        requester = await self._gate.requester(request, allow_guest=True)
        content = request.json_object()
        return {"event_id": await self._sending.state(requester, room_id, event_type, state_key, content)}

    async def members(self, request: Request, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/rooms/{roomId}/members`"""
        requester = await self._gate.requester(request, allow_guest=True)
        query = MemberQuery(
            request.query("at") or None,
            request.query_choice("membership", MEMBERSHIPS, None),
            request.query_choice("not_membership", MEMBERSHIPS, None),
        )
        return {"chunk": await self._room_state.members(requester, room_id, query)}

    async def joined_members(self, request: Request, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/rooms/{roomId}/joined_members`"""
        requester = await self._gate.requester(request, allow_guest=True)
        return {"joined": await self._room_state.joined_members(requester, room_id)}
