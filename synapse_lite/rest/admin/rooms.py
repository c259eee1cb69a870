"""Rooms, as operators see them."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_admin import ORDER_NAMES, RoomAdmin, RoomQuery
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.body import parameter
from synapse_lite.rest.client.hierarchy import HierarchyApi
from synapse_lite.rest.paging import admin_limit, goes_backwards

PATH = "/_synapse/admin/v1/rooms"


class RoomsApi:
    """`hierarchy` shows every room."""

    def __init__(self, rooms: RoomAdmin, hierarchy: HierarchyApi) -> None:
        self._rooms = rooms
        self._hierarchy = hierarchy

    def routes(self) -> list[Route]:
        return [
            Route("GET", PATH, self.find, Access.ADMIN),
            Route("GET", f"{PATH}/{{room_id}}", self.details, Access.ADMIN),
            Route("GET", f"{PATH}/{{room_id}}/members", self.members, Access.ADMIN),
            Route("GET", f"{PATH}/{{room_id}}/state", self.state, Access.ADMIN),
            Route("GET", f"{PATH}/{{room_id}}/hierarchy", self.hierarchy, Access.ADMIN),
            Route("GET", f"{PATH}/{{room_id}}/block", self.block_status, Access.ADMIN),
            Route("PUT", f"{PATH}/{{room_id}}/block", self.block, Access.ADMIN),
            Route("GET", f"{PATH}/{{room_id}}/forward_extremities", self.extremities, Access.ADMIN),
            Route("DELETE", f"{PATH}/{{room_id}}/forward_extremities", self.delete_extremities, Access.ADMIN),
        ]

    async def find(self, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/rooms`"""
        query = RoomQuery(
            request.query("search_term"),
            request.query_bool("public_rooms", None),
            request.query_bool("empty_rooms", None),
            request.query_choice("order_by", ORDER_NAMES, "name"),
            goes_backwards(request),
            request.query_int("from", 0),
            admin_limit(request),
        )
        return await self._rooms.find(query)

    async def details(self, _request: Request, _requester: Requester, room_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/rooms/{room_id}`"""
        return await self._rooms.details(room_id)

    async def members(self, _request: Request, _requester: Requester, room_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/rooms/{room_id}/members`"""
        members = await self._rooms.members(room_id)
        return {"members": members, "total": len(members)}

    async def state(self, request: Request, _requester: Requester, room_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/rooms/{room_id}/state`"""
        return {"state": await self._rooms.state(room_id, request.query("type") or None)}

    async def hierarchy(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/rooms/{room_id}/hierarchy`"""
        await self._rooms.check_known(room_id)
        return await self._hierarchy.get(request, requester, room_id)

    async def block_status(self, _request: Request, _requester: Requester, room_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/rooms/{room_id}/block`"""
        return await self._rooms.block_status(room_id)

    async def block(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`PUT /_synapse/admin/v1/rooms/{room_id}/block`"""
        block = parameter(request.json_object(), "block", bool)
        if block:
            await self._rooms.block(room_id, requester.user_id)
        else:
            await self._rooms.unblock(room_id)
        return {"block": block}

    async def extremities(self, _request: Request, _requester: Requester, room_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/rooms/{room_id_or_alias}/forward_extremities`"""
        found = await self._rooms.extremities(room_id)
        return {"count": len(found), "results": found}

    async def delete_extremities(self, _request: Request, _requester: Requester, room_id: str) -> JsonObject:
        """`DELETE /_synapse/admin/v1/rooms/{room_id_or_alias}/forward_extremities`"""
        return {"deleted": await self._rooms.keep_newest_extremity(room_id)}
