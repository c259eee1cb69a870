"""Room aliases, and the public directory's list of rooms as far as single rooms are concerned."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json
from synapse_lite.handlers.aliases import Aliases
from synapse_lite.http.request import Request, parameter
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.gate import Gate


class AliasApi:
    """`server_name` is ours: whom to join an aliased room through."""

    def __init__(self, gate: Gate, aliases: Aliases, server_name: str) -> None:
        self._gate = gate
        self._aliases = aliases
        self._server_name = server_name

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/directory/room/{alias}", self.get),
            *client_routes("PUT", "/directory/room/{alias}", self.put),
            *client_routes("DELETE", "/directory/room/{alias}", self.delete),
            *client_routes("GET", "/rooms/{room_id}/aliases", self.of_room),
            *client_routes("GET", "/directory/list/room/{room_id}", self.visibility),
            *client_routes("PUT", "/directory/list/room/{room_id}", self.set_visibility),
        ]

    async def get(self, _request: Request, alias: str) -> JsonObject:
        """`GET /_matrix/client/v3/directory/room/{roomAlias}`"""
        return {"room_id": await self._aliases.room_id(alias), "servers": [self._server_name]}

    async def put(self, request: Request, alias: str) -> JsonObject:
        """`PUT /_matrix/client/v3/directory/room/{roomAlias}`"""
        requester = await self._gate.requester(request)
        await self._aliases.add(requester, alias, parameter(request.json_object(), "room_id", str))
        return {}

    async def delete(self, request: Request, alias: str) -> JsonObject:
        """`DELETE /_matrix/client/v3/directory/room/{roomAlias}`"""
        requester = await self._gate.requester(request)
        await self._aliases.remove(requester, alias)
        return {}

    async def of_room(self, request: Request, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/rooms/{roomId}/aliases`"""
        requester = await self._gate.requester(request)
        return {"aliases": await self._aliases.of_room(requester, room_id)}

    async def visibility(self, _request: Request, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/directory/list/room/{roomId}`"""
        return {"visibility": "public" if await self._aliases.is_listed(room_id) else "private"}

    async def set_visibility(self, request: Request, room_id: str) -> JsonObject:
        """`PUT /_matrix/client/v3/directory/list/room/{roomId}`"""
        requester = await self._gate.requester(request)
        visibility = parameter(request.json_object(allow_empty=True), "visibility", str, "public")
        if visibility not in {"public", "private"}:
            raise bad_json("'visibility' must be 'public' or 'private'")
        await self._aliases.set_listed(requester, room_id, visibility == "public")
        return {}
