"""Which room is meant, and which rooms a user is in."""

from collections.abc import Sequence

from synapse_lite import ids
from synapse_lite.errors import MatrixError, forbidden, invalid_param, not_found
from synapse_lite.storage import aliases as alias_store
from synapse_lite.storage import rooms
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database
from synapse_lite.storage.room_closure import blocked_by
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import Change, Kind

CACHED_ROOMS = 50_000


class Rooms:
    """Finds rooms by the ids and aliases that clients use.

    What a room is never changes, so it is cached, until the room is purged: `on_changes` is to be told.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rooms: Cache[str, Room] = Cache(CACHED_ROOMS)
        self._purges = 0

    async def find(self, room_id: str) -> Room | None:
        """None for a room that this server does not know; 400 for what is no room id."""
        room = self._rooms.get(room_id)
        if room is None:
            purges = self._purges
            room = await self._database.read(rooms.room_by_id, ids.check_room_id(room_id))
            if room is not None and purges == self._purges:
                self._rooms.put(room_id, room)
        return room

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Forget the rooms that are gone: one with the same id may come to be again."""
        gone = {change.room_nid for change in changes if change.kind is Kind.ROOM_GONE}
        if gone:
            self._purges += 1  # whoever is reading the database right now may have read what was before
            self._rooms.discard(lambda room: room.nid in gone)

    async def require(self, room_id: str, user_id: str) -> Room:
        """403 for an unknown room, in the words for a room that the user is not in."""
        room = await self.find(room_id)
        if room is None:
            raise not_in_room(user_id, room_id)
        return room

    async def resolve(self, room_id_or_alias: str) -> Room:
        """The room to enter.

        404 when this server does not know it, or 403 when it is blocked besides; 400 for a malformed name.
        """
        if room_id_or_alias.startswith("#"):
            room_id = await self._database.read(alias_store.room_of_alias, check_alias(room_id_or_alias))
            if room_id is None:
                raise not_found(f"Room alias {room_id_or_alias} not found")
        elif room_id_or_alias.startswith("!"):
            room_id = room_id_or_alias
        else:
            raise invalid_param(f"{room_id_or_alias[:80]!r} was not legal room ID or room alias")
        room = await self.find(room_id)
        if room is None:
            if await self._database.read(blocked_by, room_id) is not None:
                raise forbidden("This room has been blocked on this server")
            raise not_found(
                "Can't join remote room because no servers that are in the room have been provided."
            )
        return room

    async def joined(self, user_id: str) -> list[str]:
        return await self._database.read(rooms.joined_room_ids, user_id)


def not_in_room(user_id: str, room_id: str) -> MatrixError:
    return forbidden(f"User {user_id} not in room {room_id}")


def check_alias(text: str) -> str:
    """The text itself; 400 `M_INVALID_PARAM` when it is no room alias."""
    if not ids.is_room_alias(text) or any(character.isspace() for character in text):
        raise invalid_param(f"Invalid room alias: {text[:80]!r}")
    return text
