"""What takes the most room in the database."""

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.database import Database
from synapse_lite.storage.statistics import largest_rooms

LARGEST = 10


@frozen
class DatabaseStatistics:
    database: Database

    async def rooms(self) -> list[JsonObject]:
        """The largest ten by the bytes of their events, as far as the statistics have come; the largest first."""
        found = await self.database.read(largest_rooms, LARGEST)
        return [{"room_id": room.room_id, "estimated_size": room.bytes} for room in found]
