"""Joining and leaving rooms, and making others do so."""

from typing import Protocol

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.membership import Memberships
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.matrix.redact_on_ban import REDACT_EVENTS
from synapse_lite.rest.body import parameter


class ActOn(Protocol):
    """What a moderator does to somebody in a room."""

    async def __call__(
        self, requester: Requester, room_id: str, target: str, reason: str | None, *, redacts: bool
    ) -> None: ...


class MembershipApi:
    def __init__(self, memberships: Memberships) -> None:
        self._memberships = memberships

    def routes(self) -> list[Route]:
        return [
            *client_routes("POST", "/join/{room_id_or_alias}", self.join, Access.GUEST),
            *client_routes("POST", "/rooms/{room_id}/join", self.join_by_id, Access.GUEST),
            *client_routes("POST", "/knock/{room_id_or_alias}", self.knock, Access.USER),
            *client_routes("POST", "/rooms/{room_id}/invite", self.invite, Access.USER),
            *client_routes("POST", "/rooms/{room_id}/leave", self.leave, Access.GUEST),
            *client_routes("POST", "/rooms/{room_id}/kick", self.kick, Access.USER),
            *client_routes("POST", "/rooms/{room_id}/ban", self.ban, Access.USER),
            *client_routes("POST", "/rooms/{room_id}/unban", self.unban, Access.USER),
            *client_routes("POST", "/rooms/{room_id}/forget", self.forget, Access.GUEST),
        ]

    async def join(self, request: Request, requester: Requester, room_id_or_alias: str) -> JsonObject:
        """`POST /_matrix/client/v3/join/{roomIdOrAlias}`"""
        content = _join_content(request.json_object(allow_empty=True))
        room_id = await self._memberships.join(requester, room_id_or_alias, content, _via(request))
        return {"room_id": room_id}

    async def join_by_id(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/join`"""
        return await self.join(request, requester, ids.check_room_id(room_id))

    async def knock(self, request: Request, requester: Requester, room_id_or_alias: str) -> JsonObject:
        """`POST /_matrix/client/v3/knock/{roomIdOrAlias}`"""
        reason = _reason(request.json_object(allow_empty=True))
        room_id = await self._memberships.knock(requester, room_id_or_alias, reason, _via(request))
        return {"room_id": room_id}

    async def invite(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/invite`"""
        body = request.json_object()
        if "user_id" not in body and "medium" in body:
            raise MatrixError(
                400, Errcode.UNRECOGNIZED, "Invites by e-mail address or phone number are not supported"
            )
        await self._memberships.invite(requester, room_id, parameter(body, "user_id", str), _reason(body))
        return {}

    async def leave(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/leave`"""
        await self._memberships.leave(requester, room_id, _reason(request.json_object(allow_empty=True)))
        return {}

    async def kick(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/kick`"""
        return await self._act(request, requester, room_id, self._memberships.kick)

    async def ban(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/ban`"""
        return await self._act(request, requester, room_id, self._memberships.ban)

    async def unban(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/unban`"""
        body = request.json_object()
        await self._memberships.unban(requester, room_id, parameter(body, "user_id", str), _reason(body))
        return {}

    async def forget(self, _request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/forget`"""
        await self._memberships.forget(requester, room_id)
        return {}

    async def _act(self, request: Request, requester: Requester, room_id: str, act: ActOn) -> JsonObject:
        body = request.json_object()
        redacts = parameter(body, REDACT_EVENTS, bool, False)
        await act(requester, room_id, parameter(body, "user_id", str), _reason(body), redacts=redacts)
        return {}


def _via(request: Request) -> list[str]:
    """Servers that may know the room: `via`, or `server_name` as clients of old have it."""
    return [*request.query_list("via"), *request.query_list("server_name")]


def _reason(body: JsonObject) -> str | None:
    return parameter(body, "reason", str, None)


def _join_content(body: JsonObject) -> JsonObject:
    """What the client wants in its member event. Signed third-party invites are not supported."""
    _reason(body)
    return {key: value for key, value in body.items() if key != "third_party_signed"}
