"""Account data, tags of rooms, and filters."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json
from synapse_lite.handlers.account_data import AccountData
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.gate import Gate

_NO_DATA = "Cannot get or add account data for other users."
_NO_TAGS = "Cannot get or add tags for other users."
_NO_FILTERS = "Cannot get or create filters for others"

Names = list[str] | None


class AccountDataApi:
    def __init__(self, gate: Gate, account_data: AccountData) -> None:
        self._gate = gate
        self._account_data = account_data

    def routes(self) -> list[Route]:
        data = "/user/{user_id}/account_data/{data_type}"
        room = "/user/{user_id}/rooms/{room_id}"
        room_data = f"{room}/account_data/{{data_type}}"
        return [
            *client_routes("GET", data, self.content),
            *client_routes("PUT", data, self.put),
            *client_routes("GET", room_data, self.content),
            *client_routes("PUT", room_data, self.put),
            *client_routes("GET", f"{room}/tags", self.tags),
            *client_routes("PUT", f"{room}/tags/{{tag}}", self.put_tag),
            *client_routes("DELETE", f"{room}/tags/{{tag}}", self.delete_tag),
            *client_routes("POST", "/user/{user_id}/filter", self.add_filter),
            *client_routes("GET", "/user/{user_id}/filter/{filter_id}", self.filter),
        ]

    async def content(
        self, request: Request, user_id: str, data_type: str, room_id: str | None = None
    ) -> JsonObject:
        """`GET /_matrix/client/v3/user/{userId}/account_data/{type}`, also with `/rooms/{roomId}`"""
        await self._gate.owner(request, user_id, _NO_DATA)
        return await self._account_data.content(user_id, room_id, data_type)

    async def put(
        self, request: Request, user_id: str, data_type: str, room_id: str | None = None
    ) -> JsonObject:
        """`PUT /_matrix/client/v3/user/{userId}/account_data/{type}`, also with `/rooms/{roomId}`"""
        await self._gate.owner(request, user_id, _NO_DATA)
        await self._account_data.put(user_id, room_id, data_type, request.json_object())
        return {}

    async def tags(self, request: Request, user_id: str, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags`"""
        await self._gate.owner(request, user_id, _NO_TAGS)
        return {"tags": await self._account_data.tags(user_id, room_id)}

    async def put_tag(self, request: Request, user_id: str, room_id: str, tag: str) -> JsonObject:
        """`PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`"""
        await self._gate.owner(request, user_id, _NO_TAGS)
        await self._account_data.put_tag(user_id, room_id, tag, request.json_object())
        return {}

    async def delete_tag(self, request: Request, user_id: str, room_id: str, tag: str) -> JsonObject:
        """`DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`"""
        await self._gate.owner(request, user_id, _NO_TAGS)
        await self._account_data.delete_tag(user_id, room_id, tag)
        return {}

    async def add_filter(self, request: Request, user_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/user/{userId}/filter`"""
        await self._gate.owner(request, user_id, _NO_FILTERS)
        definition = request.json_object()
        _check_filter(definition)
        return {"filter_id": await self._account_data.add_filter(user_id, definition)}

    async def filter(self, request: Request, user_id: str, filter_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/user/{userId}/filter/{filterId}`"""
        await self._gate.owner(request, user_id, _NO_FILTERS)
        return await self._account_data.filter(user_id, filter_id)


class _Filter(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _EventFilter(_Filter):
    limit: Annotated[int, Field(ge=0)] | None = None
    types: Names = None
    not_types: Names = None
    senders: Names = None
    not_senders: Names = None
    rooms: Names = None
    not_rooms: Names = None
    contains_url: bool | None = None
    lazy_load_members: bool | None = None
    include_redundant_members: bool | None = None
    unread_thread_notifications: bool | None = None


class _RoomFilter(_Filter):
    rooms: Names = None
    not_rooms: Names = None
    include_leave: bool | None = None
    timeline: _EventFilter | None = None
    state: _EventFilter | None = None
    ephemeral: _EventFilter | None = None
    account_data: _EventFilter | None = None


class _SyncFilter(_Filter):
    event_fields: Names = None
    event_format: Literal["client", "federation"] | None = None
    account_data: _EventFilter | None = None
    presence: _EventFilter | None = None
    room: _RoomFilter | None = None


def _check_filter(definition: dict[str, Any]) -> None:
    """400 `M_BAD_JSON` that names the first field that is not as the specification has it."""
    try:
        _SyncFilter.model_validate(definition)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise bad_json(f"Invalid filter: {place}: {first['msg']}"[:300]) from None
