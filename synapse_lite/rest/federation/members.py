"""Entering and leaving rooms, for users of other servers."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.federation.members import ServedMembers, known_versions
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route

FEDERATION = "/_matrix/federation"


class MembersApi:
    def __init__(self, members: ServedMembers) -> None:
        self._members = members

    def routes(self) -> list[Route]:
        user, event = "{room_id}/{user_id}", "{room_id}/{event_id}"
        return [
            Route("GET", f"{FEDERATION}/v1/make_join/{user}", self.make_join, Access.SERVER),
            Route("PUT", f"{FEDERATION}/v1/send_join/{event}", self.send_join_v1, Access.SERVER),
            Route("PUT", f"{FEDERATION}/v2/send_join/{event}", self.send_join, Access.SERVER),
            Route("GET", f"{FEDERATION}/v1/make_leave/{user}", self.make_leave, Access.SERVER),
            Route("PUT", f"{FEDERATION}/v1/send_leave/{event}", self.send_leave_v1, Access.SERVER),
            Route("PUT", f"{FEDERATION}/v2/send_leave/{event}", self.send_leave, Access.SERVER),
            Route("GET", f"{FEDERATION}/v1/make_knock/{user}", self.make_knock, Access.SERVER),
            Route("PUT", f"{FEDERATION}/v1/send_knock/{event}", self.send_knock, Access.SERVER),
        ]

    async def make_join(self, request: Request, origin: str, room_id: str, user_id: str) -> JsonObject:
        """`GET /_matrix/federation/v1/make_join/{roomId}/{userId}`"""
        versions = known_versions(request.query_list("ver"))
        return await self._members.make(origin, room_id, user_id, "join", versions)

    async def send_join(self, request: Request, origin: str, room_id: str, event_id: str) -> Response:
        """`PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}`"""
        answer = await self._members.send_join(
            origin,
            room_id,
            event_id,
            request.exact_json_object(),
            omit_members=request.query_bool("omit_members"),
        )
        return Response(200, answer)

    async def send_join_v1(self, request: Request, origin: str, room_id: str, event_id: str) -> Response:
        """`PUT /_matrix/federation/v1/send_join/{roomId}/{eventId}`"""
        pdu = request.exact_json_object()
        return Response(200, await self._members.send_join_v1(origin, room_id, event_id, pdu))

    async def make_leave(self, _request: Request, origin: str, room_id: str, user_id: str) -> JsonObject:
        """`GET /_matrix/federation/v1/make_leave/{roomId}/{userId}`"""
        return await self._members.make(origin, room_id, user_id, "leave", None)

    async def send_leave(self, request: Request, origin: str, room_id: str, event_id: str) -> JsonObject:
        """`PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}`"""
        await self._members.send_leave(origin, room_id, event_id, request.exact_json_object())
        return {}

    async def send_leave_v1(self, request: Request, origin: str, room_id: str, event_id: str) -> Response:
        """`PUT /_matrix/federation/v1/send_leave/{roomId}/{eventId}`"""
        await self.send_leave(request, origin, room_id, event_id)
        return Response(200, b"[200,{}]")

    async def make_knock(self, request: Request, origin: str, room_id: str, user_id: str) -> JsonObject:
        """`GET /_matrix/federation/v1/make_knock/{roomId}/{userId}`"""
        versions = known_versions(request.query_list("ver"))
        return await self._members.make(origin, room_id, user_id, "knock", versions)

    async def send_knock(self, request: Request, origin: str, room_id: str, event_id: str) -> JsonObject:
        """`PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}`"""
        return await self._members.send_knock(origin, room_id, event_id, request.exact_json_object())
