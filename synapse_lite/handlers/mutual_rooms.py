"""Rooms shared with another user ("GET /_matrix/client/v1/mutual_rooms")."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.requester import Requester
from synapse_lite.ids import check_user_id, is_room_id
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.mutual_rooms import count_mutual, mutual_rooms

PAGE = 100


class MutualRooms:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, requester: Requester, other: str, since: str | None) -> JsonObject:
        """Where both are joined, a page at a time. 400 `M_INVALID_PARAM` for oneself, what is no user id, and for a
        token that is none.
        """
        if check_user_id(other) == requester.user_id:
            raise invalid_param("You cannot ask for the rooms that you share with yourself")
        if since is not None and not is_room_id(since):
            raise invalid_param("Invalid token of a page")
        return await self._database.snapshot(_read_page, requester.user_id, other, since or "")


def _read_page(txn: Transaction, user_id: str, other: str, after: str) -> JsonObject:
    found = mutual_rooms(txn, user_id, other, after, PAGE + 1)
    page: JsonObject = {"joined": found[:PAGE], "count": count_mutual(txn, user_id, other)}
    return page | ({"next_batch": found[PAGE - 1]} if len(found) > PAGE else {})
