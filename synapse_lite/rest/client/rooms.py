"""Rooms: creating them, and which ones a user is in."""

from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, bad_json
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_creation import RoomCreation
from synapse_lite.handlers.room_plan import RoomRequest
from synapse_lite.handlers.rooms import Rooms
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.body import parameter

MAX_INITIAL_STATE = 500
MAX_INVITED = 1000


class RoomApi:
    def __init__(self, creation: RoomCreation, rooms: Rooms) -> None:
        self._creation = creation
        self._rooms = rooms

    def routes(self) -> list[Route]:
        return [
            *client_routes("POST", "/createRoom", self.create, Access.USER),
            *client_routes("GET", "/joined_rooms", self.joined, Access.GUEST),
        ]

    async def create(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/createRoom`"""
        return {"room_id": await self._creation.create(requester, read_room_request(request.json_object()))}

    async def joined(self, _request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/joined_rooms`"""
        return {"joined_rooms": await self._rooms.joined(requester.user_id)}


def read_room_request(body: JsonObject) -> RoomRequest:
    """400 `M_BAD_JSON` for fields of the wrong type, `M_UNRECOGNIZED` for invites by third-party id."""
    if _list(body, "invite_3pid"):
        raise MatrixError(
            400, Errcode.UNRECOGNIZED, "Invites by e-mail address or phone number are not supported"
        )
    visibility = parameter(body, "visibility", str, None) or "private"
    if visibility not in {"public", "private"}:
        raise bad_json("'visibility' must be 'public' or 'private'")
    return RoomRequest(
        room_version=parameter(body, "room_version", str, None),
        preset=parameter(body, "preset", str, None),
        is_public=visibility == "public",
        alias_name=parameter(body, "room_alias_name", str, None),
        name=parameter(body, "name", str, None),
        topic=parameter(body, "topic", str, None),
        invited=_user_ids(_list(body, "invite")),
        is_direct=parameter(body, "is_direct", bool, None) or False,
        creation_content=_object(body, "creation_content"),
        initial_state=_initial_state(_list(body, "initial_state")),
        power_levels=_object(body, "power_level_content_override"),
    )


def _list(body: JsonObject, name: str) -> list[Any]:
    value: list[Any] | None = parameter(body, name, list, None)
    return value or []


def _object(body: JsonObject, name: str) -> JsonObject:
    value: JsonObject | None = parameter(body, name, dict, None)
    return value or {}


def _user_ids(items: list[Any]) -> list[str]:
    if len(items) > MAX_INVITED or not all(isinstance(item, str) for item in items):
        raise bad_json(f"'invite' must be a list of at most {MAX_INVITED} user IDs")
    return items


def _initial_state(items: list[Any]) -> list[tuple[tuple[str, str], JsonObject]]:
    if len(items) > MAX_INITIAL_STATE or not all(isinstance(item, dict) for item in items):
        raise bad_json(f"'initial_state' must be a list of at most {MAX_INITIAL_STATE} events")
    return [
        (
            (parameter(item, "type", str), parameter(item, "state_key", str, "")),
            parameter(item, "content", dict),
        )
        for item in items
    ]
