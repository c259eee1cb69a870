"""Deleting rooms."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json, invalid_param
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_deletion import DeletionRequest, RoomDeletion
from synapse_lite.handlers.room_selection import RoomChoice
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.ids import MAX_ID_BYTES
from synapse_lite.rest.admin.room_selection import read_choice
from synapse_lite.rest.body import optional_text, text_list
from synapse_lite.tasks.actions.parts import MAX_PARTS

V1 = "/_synapse/admin/v1/rooms/{room_id}"
V2 = "/_synapse/admin/v2/rooms/{room_id}"
MAX_NAME = 255
MAX_MESSAGE = 32_768


class RoomDeletionApi:
    def __init__(self, deletion: RoomDeletion, choice: RoomChoice) -> None:
        self._deletion = deletion
        self._choice = choice

    def routes(self) -> list[Route]:
        return [
            Route("DELETE", V1, self.delete_now, Access.ADMIN),
            Route("DELETE", V2, self.delete, Access.ADMIN),
            Route("POST", "/_synapse/admin/v1/shutdown_rooms", self.delete_many, Access.ADMIN),
            Route("GET", f"{V2}/delete_status", self.statuses, Access.ADMIN),
            Route("GET", "/_synapse/admin/v2/rooms/delete_status/{delete_id}", self.status, Access.ADMIN),
        ]

    async def delete_now(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`DELETE /_synapse/admin/v1/rooms/{room_id}`: answers when it is done"""
        return await self._deletion.run(requester.user_id, _read(request, room_id), f"DELETE {V1}")

    async def delete(self, request: Request, requester: Requester, room_id: str) -> JsonObject:
        """`DELETE /_synapse/admin/v2/rooms/{room_id}`"""
        wanted = _read(request, room_id)
        return {"delete_id": await self._deletion.start(requester.user_id, wanted, f"DELETE {V2}")}

    async def delete_many(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_synapse/admin/v1/shutdown_rooms`: as `delete`, for all `rooms`, or for those that fit `select`.

        The task shows how far all are.
        """
        if known_id := await self._deletion.many_started_before():
            return {"task_id": known_id}
        rooms = list(dict.fromkeys(await self._chosen(request.json_object())))
        wanted = _read(request, rooms[0])
        return {"task_id": await self._deletion.start_many(requester.user_id, rooms, wanted)}

    async def statuses(self, _request: Request, _requester: Requester, room_id: str) -> JsonObject:
        """`GET /_synapse/admin/v2/rooms/{room_id}/delete_status`"""
        return {"results": await self._deletion.statuses(room_id)}

    async def status(self, _request: Request, _requester: Requester, delete_id: str) -> JsonObject:
        """`GET /_synapse/admin/v2/rooms/delete_status/{delete_id}`"""
        return await self._deletion.status(delete_id)

    async def _chosen(self, body: JsonObject) -> list[str]:
        choice = read_choice(body)
        if choice is not None:
            return await self._choice.room_ids(choice)
        rooms = text_list(body, "rooms", longest=MAX_ID_BYTES, most=MAX_PARTS)
        if not rooms:
            raise invalid_param("Parameter 'rooms' must name a room")
        return rooms


def _read(request: Request, room_id: str) -> DeletionRequest:
    body = request.json_object()
    return DeletionRequest(
        room_id,
        optional_text(body, "new_room_user_id", MAX_ID_BYTES),
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
