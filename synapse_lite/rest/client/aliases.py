"""Room aliases, and the public directory's list of rooms as far as single rooms are concerned."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json
from synapse_lite.handlers.aliases import Aliases
from synapse_lite.handlers.remote_rooms import RemoteRooms
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.body import parameter


class AliasApi:
    def __init__(self, aliases: Aliases, remote_rooms: RemoteRooms) -> None:
        self._aliases = aliases
        self._remote_rooms = remote_rooms

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/directory/room/{alias}", self.get, Access.NONE),
            *client_routes("PUT", "/directory/room/{alias}", self.put, Access.USER),
            *client_routes("DELETE", "/directory/room/{alias}", self.delete, Access.USER),
            *client_routes("GET", "/rooms/{room_id}/aliases", self.of_room, Access.USER),
            *client_routes("GET", "/directory/list/room/{room_id}", self.visibility, Access.NONE),
            *client_routes("PUT", "/directory/list/room/{room_id}", self.set_visibility, Access.USER),
        ]

    async def get(self, _request: Request, alias: str) -> JsonObject:
        """`GET /_matrix/client/v3/directory/room/{roomAlias}`"""
        found = await self._remote_rooms.resolve_alias(alias)
        return {"room_id": found.room_id, "servers": list(found.servers)}

    async def put(self, request: Request, requester: Requester, alias: str) -> JsonObject:
        """`PUT /_matrix/client/v3/directory/room/{roomAlias}`"""
        await self._aliases.add(requester, alias, parameter(request.json_object(), "room_id", str))
        return {}

    async def delete(self, _request: Request, requester: Requester, alias: str) -> JsonObject:
        """`DELETE /_matrix/client/v3/directory/room/{roomAlias}`"""
        await self._aliases.remove(requester, alias)
        return {}

    async def of_room(self, _request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/rooms/{roomId}/aliases`"""
        return {"aliases": await self._aliases.of_room(requester, room_id)}

    async def visibility(self, _request: Request, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/directory/list/room/{roomId}`"""
        return {"visibility": "public" if await self._aliases.is_listed(room_id) else "private"}

    async def set_visibility(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`PUT /_matrix/client/v3/directory/list/room/{roomId}`"""
        await self._aliases.set_listed(requester, room_id, is_to_be_listed(request))
        return {}


def is_to_be_listed(request: Request) -> bool:
    """What the body says of a list. Raises 400 `M_BAD_JSON`."""
    visibility = parameter(request.json_object(allow_empty=True), "visibility", str, "public")
    if visibility not in {"public", "private"}:
        raise bad_json("'visibility' must be 'public' or 'private'")
    return visibility == "public"
