"""Bringing users into rooms, and to power there."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_intervention import RoomIntervention
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.ids import MAX_ID_BYTES
from synapse_lite.rest.body import optional_text, text

V1 = "/_synapse/admin/v1"


class RoomInterventionApi:
    def __init__(self, intervention: RoomIntervention) -> None:
        self._intervention = intervention

    def routes(self) -> list[Route]:
        return [
            Route("POST", f"{V1}/join/{{room_id_or_alias}}", self.join, Access.ADMIN),
            # The variable has the name of its neighbours: of a room the router knows one.
            Route("POST", f"{V1}/rooms/{{room_id}}/make_room_admin", self.make_admin, Access.ADMIN),
        ]

    async def join(self, request: Request, requester: Requester, room_id_or_alias: str) -> JsonObject:
        """`POST /_synapse/admin/v1/join/{room_id_or_alias}`"""
        user_id = text(request.json_object(), "user_id", MAX_ID_BYTES)
        via = [*request.query_list("via"), *request.query_list("server_name")]
        room_id = await self._intervention.join(requester.user_id, user_id, room_id_or_alias, via)
        return {"room_id": room_id}

    async def make_admin(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/rooms/{room_id_or_alias}/make_room_admin`: the caller, unless `user_id` is given"""
        user_id = optional_text(request.json_object(allow_empty=True), "user_id", MAX_ID_BYTES)
        await self._intervention.make_admin(user_id or requester.user_id, room_id)
        return {}
