"""Which rooms a user is in, known without asking the database at every poll."""

from collections.abc import Collection
from sys import intern

from attrs import frozen

from synapse_lite.handlers.at_once import all_at_once
from synapse_lite.handlers.gathered_reads import GatheredReads
from synapse_lite.handlers.sync.values import RoomIds
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage import rooms
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.stream import Change, Kind

CACHED_USERS = 10_000
_MOVING = frozenset({Kind.EVENT, Kind.STATE, Kind.ROOM_GONE})


@frozen
class JoinedRooms:
    """The rooms as of a position of the stream."""

    position: int
    rooms: RoomIds


class JoinedRoomsReader:
    """Remembers, and brings up to date from the stream in memory. After a restart all clients ask at once."""

    def __init__(self, database: Database, events: EventStore, log: ChangeLog) -> None:
        self._reads: GatheredReads[str, JoinedRooms] = GatheredReads(database, _read)
        self._events = events
        self._log = log
        self._cache: Cache[str, JoinedRooms] = Cache(CACHED_USERS)

    async def of(self, user_id: str) -> JoinedRooms:
        """As of what the log has seen, or later when the database knows more."""
        current = self.known(user_id)
        while current is None:
            read = await self._reads.of(user_id)
            current = self._updated(user_id, read) if read else None  # the log may have gone on meanwhile
        self._cache.put(user_id, current)
        return current

    async def prepare(self, user_ids: Collection[str | None]) -> None:
        """From now on `known` knows the rooms of the users."""
        unknown = [user_id or "" for user_id in user_ids if self.known(user_id or "") is None]
        if unknown:
            await all_at_once(self.of(user_id) for user_id in unknown)

    async def rooms_of(self, user_id: str) -> RoomIds:
        return (await self.of(user_id)).rooms

    def known(self, user_id: str) -> JoinedRooms | None:
        """As `of`, where memory tells; no I/O."""
        known = self._cache.get(user_id)
        return self._updated(user_id, known) if known else None

    def _updated(self, user_id: str, known: JoinedRooms) -> JoinedRooms | None:
        """None when the log no longer tells."""
        if known.position >= self._log.position:
            return known
        changes = self._log.since(known.position)
        if changes is None:
            return None
        current = known.rooms
        for change in changes:
            if is_own_membership(change, user_id):
                if change.room_nid is None or change.event_nid is None:
                    return None
                stored = self._events.cached([change.event_nid]).get(change.event_nid)
                if stored is None:
                    return None
                others = {nid: room_id for nid, room_id in current.items() if nid != change.room_nid}
                is_in = stored.event.membership == "join"
                current = {**others, change.room_nid: stored.event.room_id} if is_in else others
        return JoinedRooms(self._log.position, current)


def is_own_membership(change: Change, user_id: str) -> bool:
    """Whether the user came into a room, or went out of it, or it is gone."""
    return change.user_id == user_id and change.kind in _MOVING


def _read(txn: Transaction, user_ids: Collection[str]) -> dict[str, JoinedRooms]:
    position, found = rooms.joined_rooms_of(txn, user_ids)
    return {
        user_id: JoinedRooms(position, {nid: intern(room_id) for nid, room_id in mine.items()})
        for user_id, mine in found.items()
    }
