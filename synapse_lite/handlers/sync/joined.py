"""Which rooms a user is in, known without asking the database at every poll."""

from attrs import frozen

from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage import rooms
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.stream import Change, Kind, read_position

CACHED_USERS = 10_000


@frozen
class JoinedRooms:
    """The rooms, by nid, as of a position of the stream."""

    position: int
    rooms: frozenset[int]


class JoinedRoomsReader:
    """Remembers, and brings up to date from the stream in memory."""

    def __init__(self, database: Database, events: EventStore, log: ChangeLog) -> None:
        self._database = database
        self._events = events
        self._log = log
        self._cache: Cache[str, JoinedRooms] = Cache(CACHED_USERS)

    async def of(self, user_id: str) -> JoinedRooms:
        """As of now, or later than what the log has seen when it was read from the database."""
        known = self._cache.get(user_id)
        current = self._updated(user_id, known) if known else None
        if current is None:
            current = await self._database.snapshot(_read, user_id)
        self._cache.put(user_id, current)
        return current

    def _updated(self, user_id: str, known: JoinedRooms) -> JoinedRooms | None:
        """None when the log no longer tells."""
        if known.position >= self._log.position:
            return known
        changes = self._log.since(known.position)
        if changes is None:
            return None
        joined = set(known.rooms)
        for change in changes:
            if is_own_membership(change, user_id):
                stored = self._events.cached([change.event_nid]).get(change.event_nid)  # type: ignore[list-item, arg-type]
                if stored is None or change.room_nid is None:
                    return None
                if stored.event.membership == "join":
                    joined.add(change.room_nid)
                else:
                    joined.discard(change.room_nid)
        return JoinedRooms(self._log.position, frozenset(joined))


def is_own_membership(change: Change, user_id: str) -> bool:
    return change.kind is Kind.EVENT and change.user_id == user_id


def _read(txn: Transaction, user_id: str) -> JoinedRooms:
    position = read_position(txn)
    return JoinedRooms(
        position, frozenset(one.room_nid for one in rooms.memberships_of(txn, user_id, {"join"}))
    )
