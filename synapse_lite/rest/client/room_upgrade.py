"""Replacing a room by one of another version."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_upgrade import RoomUpgrade
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.ids import MAX_ID_BYTES
from synapse_lite.rest.body import text, text_list

MAX_VERSION = 255
MAX_CREATORS = 100


class RoomUpgradeApi:
    def __init__(self, upgrades: RoomUpgrade) -> None:
        self._upgrades = upgrades

    def routes(self) -> list[Route]:
        return client_routes("POST", "/rooms/{room_id}/upgrade", self.upgrade, Access.USER)

    async def upgrade(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/rooms/{roomId}/upgrade`"""
        body = request.json_object()
        creators: list[str] = []
        if body.get("additional_creators") is not None:
            creators = text_list(body, "additional_creators", longest=MAX_ID_BYTES, most=MAX_CREATORS)
        version = text(body, "new_version", MAX_VERSION)
        return {"replacement_room": await self._upgrades.upgrade(requester, room_id, version, creators)}
