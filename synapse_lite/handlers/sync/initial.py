"""What first syncs found in the rooms, for the next session of the same user.

Who opens several sessions, or whose client starts anew, asks for the same again. It is still true as long as
nothing has happened in the rooms, which the stream in memory tells.
"""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.handlers.filters import SyncFilter
from synapse_lite.handlers.retention import Retention
from synapse_lite.handlers.sync.sections import Sections
from synapse_lite.handlers.sync.values import SyncRequest, SyncResult
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.stream import Change, Kind

REMEMBERED_EVENTS = 10_000
KEPT_SECONDS = 60.0
_OF_ROOMS = frozenset({Kind.EVENT, Kind.REDACTED, Kind.PURGED, Kind.STATE, Kind.ROOM_GONE, Kind.KEPT})


@frozen
class InitialRooms:
    """The rooms of a first sync, and the nids of those that the user is in. The result has no other parts."""

    result: SyncResult
    joined: frozenset[int]
    until: float  # by the monotonic clock

    @property
    def weight(self) -> int:
        rooms = (*self.result.joined, *self.result.left)
        return 1 + len(rooms) + sum(len(one.timeline) + len(one.state) for one in rooms)


class InitialSyncs:
    """For the reactor."""

    def __init__(self, log: ChangeLog, sections: Sections, retention: Retention, clock: Clock) -> None:
        self._log = log
        self._retention = retention
        self._sections = sections
        self._clock = clock
        self._known: Cache[tuple[str, SyncFilter], InitialRooms] = Cache(REMEMBERED_EVENTS)

    def find(self, request: SyncRequest) -> InitialRooms | None:
        """What was found before, if it still holds."""
        key = (request.user_id, request.filter)
        known = self._known.get(key)
        if known is None:
            return None
        changes = self._log.since(known.result.position)
        if (
            changes is None
            or self._log.is_behind
            or known.until <= self._clock.monotonic()
            or self._any_concerns(changes, request.user_id, known.joined)
        ):
            self._known.remove(key)
            return None
        return known

    def keep(self, request: SyncRequest, result: SyncResult, joined: Collection[int]) -> None:
        """Remember what was read just now, unless it may change without a word in the stream.

        Messages expire with time, and rooms that one is out of may be forgotten.
        """
        if self._retention.policy is not None or result.left:
            return
        rooms = SyncResult(result.position, result.joined, result.left, result.invited, result.knocked)
        known = InitialRooms(rooms, frozenset(joined), self._clock.monotonic() + KEPT_SECONDS)
        self._known.put((request.user_id, request.filter), known, known.weight)

    def _any_concerns(self, changes: Collection[Change], user_id: str, joined: Collection[int]) -> bool:
        kinds = _OF_ROOMS.union(*(section.kinds for section in self._sections.room))
        return any(change.kind in kinds and change.concerns(user_id, joined) for change in changes)
