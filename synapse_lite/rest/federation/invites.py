"""Invites from other servers."""

from synapse_lite.canonical_json import JsonObject, dump
from synapse_lite.errors import bad_json
from synapse_lite.handlers.federation.invites import OLD_VERSION, ServedInvites
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route
from synapse_lite.rest.body import parameter

FEDERATION = "/_matrix/federation"
MAX_BODY = 1024 * 1024
"""Bytes: an invite, and whole events of the room's state."""


class InvitesApi:
    def __init__(self, invites: ServedInvites) -> None:
        self._invites = invites

    def routes(self) -> list[Route]:
        path = "invite/{room_id}/{event_id}"
        return [
            Route("PUT", f"{FEDERATION}/v2/{path}", self.invite, Access.SERVER, MAX_BODY),
            Route("PUT", f"{FEDERATION}/v1/{path}", self.invite_v1, Access.SERVER, MAX_BODY),
        ]

    async def invite(self, request: Request, origin: str, room_id: str, event_id: str) -> Response:
        """`PUT /_matrix/federation/v2/invite/{roomId}/{eventId}`"""
        body = request.exact_json_object()
        version = parameter(body, "room_version", str)
        return Response(200, dump(await self._invites.invite(origin, room_id, event_id, body, version)))

    async def invite_v1(self, request: Request, origin: str, room_id: str, event_id: str) -> Response:
        """`PUT /_matrix/federation/v1/invite/{roomId}/{eventId}`: the body is the event itself."""
        event: JsonObject = request.exact_json_object()
        unsigned = event.get("unsigned", {})
        if not isinstance(unsigned, dict):
            raise bad_json("'unsigned' must be an object")
        body = {"event": event, "invite_room_state": unsigned.get("invite_room_state")}
        signed = await self._invites.invite(origin, room_id, event_id, body, OLD_VERSION)
        return Response(200, b"[200," + dump(signed) + b"]")
