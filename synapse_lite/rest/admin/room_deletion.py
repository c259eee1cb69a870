"""Deleting rooms."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json
from synapse_lite.handlers.room_deletion import DeletionRequest, RoomDeletion
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.fields import optional_text
from synapse_lite.rest.gate import Gate

V1 = "/_synapse/admin/v1/rooms/{room_id}"
V2 = "/_synapse/admin/v2/rooms/{room_id}"
MAX_USER_ID = 255
MAX_NAME = 255
MAX_MESSAGE = 32_768


class RoomDeletionApi:
    def __init__(self, gate: Gate, deletion: RoomDeletion) -> None:
        self._gate = gate
        self._deletion = deletion

    def routes(self) -> list[Route]:
        return [
            Route("DELETE", V1, self.delete_now),
            Route("DELETE", V2, self.delete),
            Route("GET", f"{V2}/delete_status", self.statuses),
            Route("GET", "/_synapse/admin/v2/rooms/delete_status/{delete_id}", self.status),
        ]

    async def delete_now(self, request: Request, room_id: str) -> JsonObject:
        """`DELETE /_synapse/admin/v1/rooms/{room_id}`: answers when it is done"""
        requester = await self._gate.admin(request)
        return await self._deletion.run(requester.user_id, _read(request, room_id), f"DELETE {V1}")

    async def delete(self, request: Request, room_id: str) -> JsonObject:
        """`DELETE /_synapse/admin/v2/rooms/{room_id}`"""
        requester = await self._gate.admin(request)
        wanted = _read(request, room_id)
        return {"delete_id": await self._deletion.start(requester.user_id, wanted, f"DELETE {V2}")}

    async def statuses(self, request: Request, room_id: str) -> JsonObject:
        """`GET /_synapse/admin/v2/rooms/{room_id}/delete_status`"""
        await self._gate.admin(request)
        return {"results": await self._deletion.statuses(room_id)}

    async def status(self, request: Request, delete_id: str) -> JsonObject:
        """`GET /_synapse/admin/v2/rooms/delete_status/{delete_id}`"""
        await self._gate.admin(request)
        return await self._deletion.status(delete_id)


def _read(request: Request, room_id: str) -> DeletionRequest:
    body = request.json_object()
    return DeletionRequest(
        room_id,
        optional_text(body, "new_room_user_id", MAX_USER_ID),
        optional_text(body, "room_name", MAX_NAME),
        optional_text(body, "message", MAX_MESSAGE),
        _flag(body, "block", default=False),
        _flag(body, "purge", default=True),
        _flag(body, "force_purge", default=False),
        _flag(body, "dry_run", default=False),
    )


def _flag(body: JsonObject, name: str, *, default: bool) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise bad_json(f"Param '{name}' must be a boolean, if given")
    return value
