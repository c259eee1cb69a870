"""Invites to addresses whose owner has been found."""

from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json, invalid_param
from synapse_lite.handlers.federation.third_party_invites import ThirdPartyInvite, ThirdPartyInvites
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.ids import check_room_id, check_user_id
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rest.body import parameter, text

V1 = "/_matrix/federation/v1"
MAX_INVITES = 50  # that wait for one address
MAX_TEXT = 255


class ThirdPartyInvitesApi:
    def __init__(self, invites: ThirdPartyInvites) -> None:
        self._invites = invites

    def routes(self) -> list[Route]:
        return [
            Route("PUT", f"{V1}/3pid/onbind", self.bound, Access.NONE),
            Route("PUT", f"{V1}/exchange_third_party_invite/{{room_id}}", self.exchange, Access.SERVER),
        ]

    async def bound(self, request: Request) -> JsonObject:
        """`PUT /_matrix/federation/v1/3pid/onbind`: identity servers sign no requests, but what they say of each invite."""
        body = request.json_object()
        user_id = check_user_id(text(body, "mxid", MAX_TEXT))
        listed = parameter(body, "invites", list)
        if len(listed) > MAX_INVITES:
            raise invalid_param(f"Parameter 'invites' holds more than {MAX_INVITES} values")
        await self._invites.bound(user_id, [_waiting(one, user_id) for one in listed])
        return {}

    async def exchange(self, request: Request, origin: str, room_id: str) -> JsonObject:
        """`PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}`"""
        event = request.exact_json_object()
        content = parameter(event, "content", dict)
        asked = (event.get("type"), event.get("room_id"), content.get("membership"))
        if asked != (MEMBER, room_id, "invite"):
            raise bad_json("The event must be an invite to the room")
        user_id = check_user_id(text(event, "state_key", MAX_TEXT))
        signed = parameter(parameter(content, "third_party_invite", dict), "signed", dict)
        sender = check_user_id(text(event, "sender", MAX_TEXT))
        await self._invites.exchange(origin, _invite(room_id, sender, user_id, signed))
        return {}


def _waiting(given: Any, user_id: str) -> ThirdPartyInvite:
    if not isinstance(given, dict):
        raise bad_json("An invite must be an object")
    room_id = check_room_id(text(given, "room_id", MAX_TEXT))
    sender = check_user_id(text(given, "sender", MAX_TEXT))
    return _invite(room_id, sender, user_id, parameter(given, "signed", dict))


def _invite(room_id: str, sender: str, user_id: str, signed: JsonObject) -> ThirdPartyInvite:
    token = text(signed, "token", MAX_TEXT)
    if parameter(signed, "mxid", str) != user_id:
        raise bad_json("What is signed is about another user")
    return ThirdPartyInvite(room_id, sender, user_id, token, signed)
