"""Choosing rooms by what they have in common: to see which they are, and to do something about all of them at once."""

from attrs import asdict, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, invalid_param
from synapse_lite.storage import room_selection
from synapse_lite.storage.database import Database
from synapse_lite.storage.room_selection import RoomSelection
from synapse_lite.tasks.actions.parts import MAX_PARTS

__all__ = ["ChosenRooms", "RoomChoice", "RoomSelection"]


@frozen
class ChosenRooms:
    """Those that fit `selection` at this moment, unless they are more than `max_rooms`."""

    selection: RoomSelection
    max_rooms: int = MAX_PARTS


class RoomChoice:
    """`server_name` is ours. 400 `M_INVALID_PARAM` for a selection of every room."""

    def __init__(self, database: Database, server_name: str) -> None:
        self._database = database
        self._server_name = server_name

    async def page(self, selection: RoomSelection, *, after: str, limit: int) -> JsonObject:
        """Which fit, in the order of their ids."""
        _check(selection)
        rooms = await self._database.read(
            room_selection.read_selected, selection, self._server_name, after=after, limit=limit + 1
        )
        total = await self._database.read(room_selection.count_selected, selection, self._server_name)
        answer: JsonObject = {"rooms": [asdict(room) for room in rooms[:limit]], "total": total}
        if len(rooms) > limit:
            answer["next_token"] = rooms[limit - 1].room_id
        return answer

    async def room_ids(self, chosen: ChosenRooms) -> list[str]:
        """400 `M_UNKNOWN` when none fits, or more than there may be; with `total`."""
        _check(chosen.selection)
        found = await self._database.read(
            room_selection.read_selected,
            chosen.selection,
            self._server_name,
            after="",
            limit=chosen.max_rooms + 1,
        )
        if not found:
            raise MatrixError(400, Errcode.UNKNOWN, "No room fits the selection", {"total": 0})
        if len(found) > chosen.max_rooms:
            total = await self._database.read(
                room_selection.count_selected, chosen.selection, self._server_name
            )
            text = f"{total} rooms fit the selection, more than {chosen.max_rooms}"
            raise MatrixError(400, Errcode.UNKNOWN, text, {"total": total})
        return [room.room_id for room in found]


def _check(selection: RoomSelection) -> None:
    if selection.is_empty:
        raise invalid_param("The selection fits every room: say what to look for")
