"""Choosing users by what they have in common: to see who they are, and to do something about all of them at once."""

from attrs import asdict, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, invalid_param
from synapse_lite.ids import check_room_id, check_user_id
from synapse_lite.storage import user_selection
from synapse_lite.storage.database import Database
from synapse_lite.storage.user_selection import Selection
from synapse_lite.tasks.actions.parts import MAX_PARTS

__all__ = ["Chosen", "Selection", "UserSelection"]


@frozen
class Chosen:
    """Either `user_ids`, or those that fit `selection` at this moment, unless they are more than `max_users`."""

    user_ids: tuple[str, ...] = ()
    selection: Selection | None = None
    max_users: int = MAX_PARTS


class UserSelection:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, selection: Selection, *, after: str, limit: int) -> JsonObject:
        """Who fits, in the order of their ids. 400 for a selection of everybody, and for a malformed room id."""
        _check(selection)
        users = await self._database.read(
            user_selection.read_selected, selection, after=after, limit=limit + 1
        )
        total = await self._database.read(user_selection.count_selected, selection)
        page = users[:limit]
        answer: JsonObject = {"users": [asdict(user) for user in page], "total": total}
        if len(users) > limit:
            answer["next_token"] = page[-1].user_id
        return answer

    async def user_ids(self, chosen: Chosen) -> tuple[str, ...]:
        """400 `M_UNKNOWN` when nobody fits, or more than there may be; with `total`."""
        if chosen.selection is None:
            for user_id in chosen.user_ids:
                check_user_id(user_id)
            return tuple(dict.fromkeys(chosen.user_ids))
        _check(chosen.selection)
        found = await self._database.read(
            user_selection.select_user_ids, chosen.selection, chosen.max_users + 1
        )
        if not found:
            raise MatrixError(400, Errcode.UNKNOWN, "No user fits the selection", {"total": 0})
        if len(found) > chosen.max_users:
            total = await self._database.read(user_selection.count_selected, chosen.selection)
            raise MatrixError(
                400,
                Errcode.UNKNOWN,
                f"{total} users fit the selection, more than {chosen.max_users}",
                {"total": total},
            )
        return tuple(found)


def _check(selection: Selection) -> None:
    if selection.is_empty:
        raise invalid_param("The selection fits everybody: say what to look for")
    if selection.in_room is not None:
        check_room_id(selection.in_room)
