"""The counts that are in memory, kept up to date from the stream."""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence

from synapse_lite.handlers.ignored_users import TYPE as IGNORED
from synapse_lite.handlers.push_rules import PUSH_RULES
from synapse_lite.handlers.sync.values import RoomIds
from synapse_lite.handlers.unread.counts import (
    Happening,
    Memory,
    RoomCounts,
    advance,
    happening,
    is_only_spoken_in,
)
from synapse_lite.handlers.unread.reader import UnreadReader
from synapse_lite.matrix.push_rules import Deviation
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import Change, Kind, read_position

REMEMBERED_ROOMS = 200_000  # of all users together
REMEMBERED_HAPPENINGS = 20_000

Key = tuple[str, int]  # user id, room nid
Count = Callable[[RoomIds], Mapping[int, RoomCounts]]
"""Counts of rooms, by nid, made anew."""


class UnreadCounts:
    """Give `on_changes` every change, in order, before those who wait wake.

    What is remembered is only good for the rules and the ignored users as of its position: `_resets` tells when a
    user changed theirs. What is older than the oldest happening in memory is counted anew.
    """

    def __init__(self, database: Database, reader: UnreadReader) -> None:
        self._database = database
        self._reader = reader
        self._cache: Cache[Key, RoomCounts] = Cache(REMEMBERED_ROOMS)
        self._order: deque[Happening] = deque()
        self._by_room: dict[int, deque[Happening]] = {}
        self._resets: dict[str, int] = {}
        self._horizon: int | None = None
        self._seen = 0

    @property
    def seen(self) -> int:
        """The position of the last change that `on_changes` got."""
        return self._seen

    def on_changes(self, changes: Sequence[Change]) -> None:
        if self._horizon is None and changes:
            self._horizon = changes[0].position - 1
        for change in changes:
            if (
                change.kind is Kind.ACCOUNT_DATA and change.key in {PUSH_RULES, IGNORED} and change.user_id
            ) or (change.kind is Kind.THREAD_SUBSCRIPTION and change.user_id):
                self._resets[change.user_id] = change.position
            found = happening(change) if change.room_nid is not None else None
            if found is not None:
                self._order.append(found)
                self._by_room.setdefault(change.room_nid or 0, deque()).append(found)
            self._seen = change.position  # last: other threads look meanwhile
        while len(self._order) > REMEMBERED_HAPPENINGS:
            self._forget_oldest()

    def known(self, user_id: str, room_nids: Collection[int], upto: int) -> dict[int, RoomCounts]:
        """Those that memory tells, as of `upto`; no I/O, for any thread."""
        found = {}
        for (_, room_nid), counts in self._cache.find([(user_id, nid) for nid in room_nids]).items():
            current = self._current(user_id, room_nid, counts, upto)
            if current is not None:
                self._cache.put((user_id, room_nid), current)
                found[room_nid] = current
        return found

    def read(self, txn: Transaction, user_id: str, rooms: RoomIds, upto: int) -> Mapping[int, RoomCounts]:
        """All of them; `upto` is the position that the transaction sees."""
        found = self.known(user_id, rooms, upto)
        found |= self._go_on(txn, user_id, rooms.keys() - found.keys(), upto)
        missing = {nid: room_id for nid, room_id in rooms.items() if nid not in found}
        if missing:
            found |= self._keep(user_id, self._reader.count(txn, user_id, missing, upto))
        return found

    def with_notices(self, txn: Transaction, user_id: str, rooms: RoomIds, upto: int) -> set[int]:
        """The rooms in which there is anything that the user has not read, whoever it is for."""
        return self._reader.with_notices(txn, user_id, rooms, upto)

    def read_recent(
        self, txn: Transaction, user_id: str, rooms: RoomIds, upto: int, needed: int, count: Count
    ) -> Mapping[int, RoomCounts]:
        """All of them, as of `needed` or later; `upto` is the position that the transaction sees, as of which `count` counts."""
        found: dict[int, RoomCounts] = {}
        seen = min(self._seen, upto)
        if needed <= seen:
            found |= self.known(user_id, rooms, seen)
            found |= self._go_on(txn, user_id, rooms.keys() - found.keys(), seen)
        missing = {nid: room_id for nid, room_id in rooms.items() if nid not in found}
        return {**found, **self._keep(user_id, count(missing))} if missing else found

    async def prepare(self, user_id: str, rooms: RoomIds) -> None:
        """Bring into memory what `known` cannot tell at the end of the stream."""
        known = self.known(user_id, rooms, self._seen)
        missing = {nid: room_id for nid, room_id in rooms.items() if nid not in known}
        if missing:
            await self._database.snapshot(self._read_now, user_id, missing)

    def _read_now(self, txn: Transaction, user_id: str, rooms: RoomIds) -> None:
        upto = read_position(txn)
        self.read_recent(
            txn, user_id, rooms, upto, 0, lambda missing: self._reader.count(txn, user_id, missing, upto)
        )

    def _go_on(
        self, txn: Transaction, user_id: str, room_nids: Collection[int], upto: int
    ) -> Mapping[int, RoomCounts]:
        """Where each event is looked at, only the new ones are: else each would cost as much as all that is unread."""
        known = self._cache.find([(user_id, nid) for nid in room_nids])
        found = {
            nid: counts
            for (_, nid), counts in known.items()
            if counts.deviation is Deviation.OTHER
            and self._reaches(user_id, counts, upto)
            and is_only_spoken_in(counts, user_id, self._memory(nid), upto)
        }
        return self._keep(user_id, self._reader.go_on(txn, user_id, found, upto)) if found else {}

    def _keep(self, user_id: str, counted: Mapping[int, RoomCounts]) -> Mapping[int, RoomCounts]:
        for room_nid, counts in counted.items():
            self._cache.put((user_id, room_nid), counts)
        return counted

    def _current(self, user_id: str, room_nid: int, counts: RoomCounts, upto: int) -> RoomCounts | None:
        if counts.position == upto:
            return counts
        if not self._reaches(user_id, counts, upto):
            return None
        return advance(counts, user_id, self._memory(room_nid), upto)

    def _reaches(self, user_id: str, counts: RoomCounts, upto: int) -> bool:
        """Whether memory tells what happened since, and the user changed nothing that says what counts."""
        return (
            self._horizon is not None
            and counts.position < upto <= self._seen
            and self._resets.get(user_id, 0) <= counts.position
        )

    def _memory(self, room_nid: int) -> Memory:
        happenings = tuple(self._by_room.get(room_nid, ()))
        # After the look: what is forgotten meanwhile is not missed.
        return Memory(happenings, self._horizon or 0)

    def _forget_oldest(self) -> None:
        oldest = self._order.popleft()
        self._horizon = oldest.change.position
        in_room = self._by_room[oldest.change.room_nid or 0]
        in_room.popleft()
        if not in_room:
            del self._by_room[oldest.change.room_nid or 0]
        if len(self._resets) > REMEMBERED_HAPPENINGS:
            self._resets = {user: at for user, at in self._resets.items() if at > self._horizon}
