"""The counts of a room for one reader, and what becomes of them when something happens in the room. No I/O."""

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence

from attrs import evolve, frozen

from synapse_lite.matrix.push_rules import Deviation
from synapse_lite.storage.ephemeral import read_upto
from synapse_lite.storage.notices import ALL_THREADS, Count, PlacedNotice, load_notice
from synapse_lite.storage.relations import MAIN_THREAD
from synapse_lite.storage.stream import Change, Kind

RECEIPTS = frozenset({Kind.RECEIPT, Kind.PRIVATE_RECEIPT})
_TAKING = frozenset({Kind.REDACTED, Kind.PURGED})
"""What was unread may be there no longer."""
_OTHERS = RECEIPTS | {Kind.STATE, *_TAKING}


@frozen
class RoomCounts:
    """By thread, as of a position; threads without anything unread are absent.

    `deviation`: how the rules of the reader differ there, `ignored`: whom they ignored then. `quiet_threads`: what is
    said in threads counts for those only whom it mentions.
    """

    position: int
    threads: Mapping[str, Count]
    deviation: Deviation
    ignored: Collection[str] = ()
    quiet_threads: bool = False

    @property
    def total(self) -> Count:
        """Of all threads."""
        return Count(
            sum(count.notifications for count in self.threads.values()),
            sum(count.highlights for count in self.threads.values()),
        )

    @property
    def main(self) -> Count:
        return self.threads.get(MAIN_THREAD, Count())

    def with_more(self, more: Mapping[str, Count], upto: int) -> "RoomCounts":
        """With what came after them."""
        added = {
            thread_id: self.threads.get(thread_id, Count()).with_more(one) for thread_id, one in more.items()
        }
        return evolve(self, position=upto, threads={**self.threads, **added})


@frozen
class Happening:
    """What changed in a room, as far as counts go; `notice` None for an event that notifies nobody."""

    change: Change
    notice: PlacedNotice | None = None


def happening(change: Change) -> Happening | None:
    """None for what changes no count."""
    if change.kind is Kind.EVENT:
        return Happening(change, load_notice(change.content) if change.content else None)
    return Happening(change) if change.kind in _OTHERS else None


@frozen
class Memory:
    """All that happened in a room after the position `horizon`, in order."""

    happenings: Sequence[Happening]
    horizon: int

    def between(self, after: int, upto: int) -> Sequence[Happening]:
        first, end = (bisect_right(self.happenings, one, key=_position) for one in (after, upto))
        return self.happenings[first:end]


def _position(one: Happening) -> int:
    return one.change.position


def advance(counts: RoomCounts, user_id: str, memory: Memory, upto: int) -> RoomCounts | None:
    """The user's counts as of `upto`, after what happened in the room meanwhile; None: they have to be made anew."""
    if memory.horizon > counts.position:
        return None
    threads = dict(counts.threads)
    for one in memory.between(counts.position, upto):
        change, notice = one.change, one.notice
        if change.kind in RECEIPTS:
            if change.user_id == user_id and not _read(threads, counts, memory, change):
                return None
            continue
        if change.user_id == user_id or (_takes(change) and threads):
            return None
        if counts.deviation is Deviation.OTHER:
            return None
        if notice is not None:
            _hear(threads, user_id, counts, notice, change.position)
    return evolve(counts, position=upto, threads=threads)


def is_only_spoken_in(counts: RoomCounts, user_id: str, memory: Memory, upto: int) -> bool:
    """Whether others have said something since, and nothing else that changes the user's counts: those that are there stay."""
    if memory.horizon > counts.position:
        return False
    for one in memory.between(counts.position, upto):
        change, notice = one.change, one.notice
        is_of_others = change.user_id != user_id and (notice is None or notice.sender != user_id)
        if not is_of_others or (_takes(change) and counts.threads):
            return False
    return True


def only_highlights(threads: Mapping[str, Count]) -> dict[str, Count]:
    """Where nothing else counts."""
    return {
        thread_id: evolve(count, notifications=count.highlights)
        for thread_id, count in threads.items()
        if count.highlights
    }


def without_threads(threads: Mapping[str, Count]) -> dict[str, Count]:
    """Where of threads only what highlights counts."""
    return {
        thread_id: count if thread_id == MAIN_THREAD else evolve(count, notifications=count.highlights)
        for thread_id, count in threads.items()
        if thread_id == MAIN_THREAD or count.highlights
    }


def _takes(change: Change) -> bool:
    return change.redacts_nid is not None or change.kind in _TAKING


def _read(threads: dict[str, Count], counts: RoomCounts, memory: Memory, receipt: Change) -> bool:
    """Whether it is known what is left of the counts after a receipt of the user's own."""
    thread_id, position = read_upto(receipt)
    concerned = {one for one in threads if thread_id in {ALL_THREADS, one}}
    left: Mapping[str, Count] | None = {}
    if position is None:
        left = None if concerned else {}
    elif any(position < threads[one].last for one in concerned):
        left = _left(counts, memory, receipt, position)
    if left is None:
        return False
    for one in concerned:
        del threads[one]
    threads |= {one: count for one, count in left.items() if one in concerned}
    return True


def _left(counts: RoomCounts, memory: Memory, receipt: Change, position: int) -> Mapping[str, Count] | None:
    """What is unread behind the position that a receipt reads to; None where memory does not tell."""
    user_id = receipt.user_id or ""
    if position < memory.horizon or counts.deviation is Deviation.OTHER:
        return None
    left: dict[str, Count] = {}
    for one in memory.between(position, receipt.position - 1):
        change = one.change
        if change.kind in RECEIPTS:
            if change.user_id == user_id and (read_upto(change)[1] or position + 1) > position:
                return None
        elif change.user_id == user_id or _takes(change):
            return None
        elif one.notice is not None:
            _hear(left, user_id, counts, one.notice, change.position)
    return left


def _hear(
    threads: dict[str, Count], user_id: str, counts: RoomCounts, notice: PlacedNotice, position: int
) -> None:
    if notice.sender == user_id:
        threads.pop(notice.thread_id, None)  # who writes has read
    elif notice.sender not in counts.ignored:
        _add(threads, user_id, counts, notice, position)


def _add(
    threads: dict[str, Count], user_id: str, counts: RoomCounts, placed: PlacedNotice, position: int
) -> None:
    notice = placed.notice
    highlights = notice.highlights_for(user_id)
    is_quiet = counts.quiet_threads and placed.thread_id != MAIN_THREAD
    only_highlights = is_quiet or counts.deviation is Deviation.MENTIONS
    notifies = highlights if only_highlights else notice.concerns(user_id)
    if notifies and counts.deviation is not Deviation.MUTED:
        known = threads.get(placed.thread_id, Count())
        threads[placed.thread_id] = known.plus(position, highlight=highlights)
