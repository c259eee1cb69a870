"""Joining and leaving rooms, and making others do so."""

from typing import Protocol

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.auth import Requester
from synapse_lite.handlers.membership import Memberships
from synapse_lite.http.request import Request, parameter
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.gate import Gate


class ActOn(Protocol):
    """What a moderator does to somebody in a room."""

    async def __call__(self, requester: Requester, room_id: str, target: str, reason: str | None) -> None: ...


class MembershipApi:
    def __init__(self, gate: Gate, memberships: Memberships) -> None:
        self._gate = gate
        self._memberships = memberships

    def routes(self) -> list[Route]:
        return [
            *client_routes("POST", "/join/{room_id_or_alias}", self.join),
            *client_routes("POST", "/rooms/{room_id}/join", self.join_by_id),
            *client_routes("POST", "/knock/{room_id_or_alias}", self.knock),
            *client_routes("POST", "/rooms/{room_id}/invite", self.invite),
            *client_routes("POST", "/rooms/{room_id}/leave", self.leave),
            *client_routes("POST", "/rooms/{room_id}/kick", self.kick),
            *client_routes("POST", "/rooms/{room_id}/ban", self.ban),
            *client_routes("POST", "/rooms/{room_id}/unban", self.unban),
            *client_routes("POST", "/rooms/{room_id}/forget", self.forget),
        ]

    async def join(self, request: Request, room_id_or_alias: str) -> JsonObject:
        """`POST /_matrix/client/v3/join/{roomIdOrAlias}`"""
        requester = await self._gate.requester(request, allow_guest=True)
        content = _join_content(request.json_object(allow_empty=True))
        return {"room_id": await self._memberships.join(requester, room_id_or_alias, content)}

    async def join_by_id(self, request: Request, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/join`"""
        return await self.join(request, ids.check_room_id(room_id))

    async def knock(self, request: Request, room_id_or_alias: str) -> JsonObject:
        """`POST /_matrix/client/v3/knock/{roomIdOrAlias}`"""
        requester = await self._gate.requester(request)
        reason = _reason(request.json_object(allow_empty=True))
        return {"room_id": await self._memberships.knock(requester, room_id_or_alias, reason)}

    async def invite(self, request: Request, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/invite`"""
        requester = await self._gate.requester(request)
        body = request.json_object()
        if "user_id" not in body and "medium" in body:
            raise MatrixError(
                400, Errcode.UNRECOGNIZED, "Invites by e-mail address or phone number are not supported"
            )
        await self._memberships.invite(requester, room_id, parameter(body, "user_id", str), _reason(body))
        return {}

    async def leave(self, request: Request, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/leave`"""
        requester = await self._gate.requester(request, allow_guest=True)
        await self._memberships.leave(requester, room_id, _reason(request.json_object(allow_empty=True)))
        return {}

    async def kick(self, request: Request, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/kick`"""
        return await self._act(request, room_id, self._memberships.kick)

    async def ban(self, request: Request, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/ban`"""
        return await self._act(request, room_id, self._memberships.ban)

    async def unban(self, request: Request, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/unban`"""
        return await self._act(request, room_id, self._memberships.unban)

    async def forget(self, request: Request, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/forget`"""
        requester = await self._gate.requester(request, allow_guest=True)
        await self._memberships.forget(requester, room_id)
        return {}

    async def _act(self, request: Request, room_id: str, act: ActOn) -> JsonObject:
        requester = await self._gate.requester(request)
        body = request.json_object()
        await act(requester, room_id, parameter(body, "user_id", str), _reason(body))
        return {}


def _reason(body: JsonObject) -> str | None:
    return parameter(body, "reason", str, None)


def _join_content(body: JsonObject) -> JsonObject:
    """What the client wants in its member event. Signed third-party invites are not supported."""
    _reason(body)
    return {key: value for key, value in body.items() if key != "third_party_signed"}
