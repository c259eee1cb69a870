"""What was read lately of the past of rooms, for whoever reads on there.

All that may change about a page is what one statement reads (`read_page`), and what became of the state beside it. That
is remembered by room, and all of it forgotten when something happens there that may change any of it, which
the stream in memory tells. So the page is made by the same code, whether its facts come from here or from PostgreSQL.
"""

from bisect import bisect_right
from collections.abc import Sequence

from attrs import define, evolve, field, frozen

from synapse_lite.handlers.history_values import Asked
from synapse_lite.handlers.retention import Retention
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.marks import Marks
from synapse_lite.storage.room_pages import RoomPage
from synapse_lite.storage.rooms import RoomAccess
from synapse_lite.storage.stream import END, Change, Kind, Place
from synapse_lite.storage.timeline import Entry, condition_of

MOST_ENTRIES = 2_000  # of a room
REMEMBERED_IDS = 50_000
_ENTRY_BYTES, _MARK_BYTES, _ACCESS_BYTES, _ROOM_BYTES = 250, 150, 500, 1500  # as measured, about
_OTHERS = frozenset(
    {Kind.RECEIPT, Kind.TYPING, Kind.PRIVATE_RECEIPT, Kind.ACCOUNT_DATA, Kind.THREAD_SUBSCRIPTION}
)
"""What may happen in a room without a trace in its history. All other kinds count, also those that are yet to come."""


@frozen
class Run:
    """All events that pages show at low < place <= high, in order. To `Place(END)`: also those that are yet to come."""

    low: Place
    high: Place
    entries: Sequence[Entry]

    def page(self, asked: Asked, limit: int) -> list[Entry] | None:
        """The first `limit` of them, in the direction asked; None when there may be others."""
        if asked.upto > self.high:
            return None
        first, behind = self.index(asked.after), self.index(asked.upto)
        is_full = behind - first >= limit
        if asked.after < self.low and not (asked.backwards and is_full):
            return None
        if asked.backwards:
            return [*self.entries[max(first, behind - limit) : behind]][::-1]
        return [*self.entries[first : min(behind, first + limit)]]

    def joined(self, other: "Run") -> "Run":
        """Both, where they touch each other and are not too long; else the other one."""
        lower, upper = sorted((self, other), key=lambda run: run.low)
        if upper.low > lower.high:
            return other
        entries = [*lower.entries, *upper.entries[upper.index(lower.high) :]]
        return other if len(entries) > MOST_ENTRIES else Run(lower.low, max(lower.high, upper.high), entries)

    def index(self, place: Place) -> int:
        return bisect_right(self.entries, place, key=lambda entry: entry[0])


@define
class RoomMemory:
    """`accesses` by user."""

    run: Run
    marks: Marks
    accesses: dict[str, RoomAccess] = field(factory=dict)

    def add(self, user_id: str, read: RoomPage, run: Run) -> None:
        """What a user has read, all of it as true now as what is known."""
        self.accesses[user_id] = read.access
        self.run = self.run.joined(run)
        if self.run is run:
            self.marks = read.marks
        else:
            self.marks.add(read.marks)

    def arrive(self, change: Change) -> None:
        """A message that stands for itself, as the room's newest event. What others said of it before is not known."""
        place, known = Place(change.position), self.run.entries
        if self.run.high == Place(END) and change.event_nid and (not known or known[-1][0] < place):
            self.run = evolve(self.run, entries=[*known, (place, change.event_nid)])

    @property
    def weight(self) -> int:
        marks = len(self.marks.nids) + len(self.marks.redactions) + len(self.marks.others)
        return (
            _ROOM_BYTES
            + _ENTRY_BYTES * len(self.run.entries)
            + _MARK_BYTES * marks
            + _ACCESS_BYTES * len(self.accesses)
        )


class RememberedHistory:
    """For the reactor. Give `on_changes` every change; `most_bytes` are those of all rooms together."""

    def __init__(self, log: ChangeLog, events: EventStore, retention: Retention, most_bytes: int) -> None:
        self._log = log
        self._events = events
        self._retention = retention
        self._rooms: Cache[int, RoomMemory] = Cache(most_bytes)
        self._nids: Cache[str, int] = Cache(REMEMBERED_IDS)  # a number is never given twice

    @property
    def position(self) -> int:
        """Of what happened up to here a reading that begins now tells all."""
        return self._log.position

    def find(self, asked: Asked) -> RoomPage | None:
        """What `read_page` would find, as of what this process has heard; None when that is not known here."""
        nid = self._nids.get(asked.room_id)
        memory = None if nid is None else self._rooms.get(nid)
        access = None if memory is None else memory.accesses.get(asked.user_id)
        if memory is None or access is None or self._log.is_behind or not _takes_all(asked):
            return None
        entries = memory.run.page(asked, asked.selection.limit + 1)
        if entries is None:
            return None
        return RoomPage(evolve(access, now=self._log.position), entries, memory.marks)

    def keep(self, asked: Asked, read: RoomPage, position: int) -> None:
        """Remember what was read after the process had heard of all up to the position.

        Not where it may change without a word: messages expire with time, gaps are filled, closed rooms deleted.
        """
        access, nid = read.access, read.access.room.nid
        if self._retention.policy is not None or access.has_gaps or access.is_closed or not _takes_all(asked):
            return
        meanwhile = self._log.since(position)
        run = _run(asked, read, position)
        if run is None or meanwhile is None:
            return
        memory = self._rooms.get(nid) or RoomMemory(run, read.marks)
        memory.add(asked.user_id, read, run)
        self._rooms.put(nid, memory, memory.weight)
        self._nids.put(asked.room_id, nid)
        self.on_changes([change for change in meanwhile if change.room_nid == nid])

    def on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            nid = change.room_nid
            memory = None if nid is None or change.kind in _OTHERS else self._rooms.get(nid)
            if nid is None or memory is None:
                continue
            if self._stands_alone(change) and len(memory.run.entries) < MOST_ENTRIES:
                memory.arrive(change)
                self._rooms.put(nid, memory, memory.weight)
            else:
                self._rooms.remove(nid)

    def _stands_alone(self, change: Change) -> bool:
        """Whether it is a message that changes nothing else of what is shown of the room's past."""
        if change.kind is not Kind.EVENT or change.event_nid is None:
            return False
        stored = self._events.cached([change.event_nid]).get(change.event_nid)
        return (
            stored is not None
            and change.key is None
            and change.redacts_nid is None
            and not stored.event.is_state
            and "m.relates_to" not in stored.event.content
        )


def _takes_all(asked: Asked) -> bool:
    return not condition_of(asked.selection)[0]


def _run(asked: Asked, read: RoomPage, position: int) -> Run | None:
    """What the page tells of the history; None when that is nothing."""
    low, high = asked.after, asked.upto
    if len(read.entries) > asked.selection.limit:  # there is more behind the last one
        place, _ = read.entries[-1]
        low, high = (place.before, high) if asked.backwards else (low, place)
    entries = sorted(entry for entry in read.entries if entry[0] <= Place(position))
    if high > Place(position):
        high = Place(END)
    return Run(low, high, entries) if low < min(high, Place(position)) else None
