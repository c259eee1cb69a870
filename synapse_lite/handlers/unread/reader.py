"""Counting in the database. Runs in database threads, in a snapshot."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.filters import EventFilter
from synapse_lite.handlers.ignored_users import read_ignored
from synapse_lite.handlers.push_rules import read_push_rules
from synapse_lite.handlers.sync.values import RoomIds
from synapse_lite.handlers.unread.counts import RoomCounts, only_highlights, without_threads
from synapse_lite.matrix.push_rules import (
    Context,
    Deviation,
    Evaluator,
    compile_rules,
    default_evaluator,
    deviation,
    rules_of,
)
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.contributors.notices import may_notify, thread_of_event
from synapse_lite.storage import timeline
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.notices import (
    ALL_THREADS,
    Count,
    Marks,
    Reader,
    count_notices,
    mark_of,
    member_steps,
    read_marks,
)
from synapse_lite.storage.relations import MAIN_THREAD
from synapse_lite.storage.room_summary import read_summaries
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import Place
from synapse_lite.storage.thread_subscriptions import followed_threads

PAGE = 1000
MOST_LOOKED_AT = 2000
"""Events of a room: so long as nobody waits for it in vain. Further back only mentions count, as by the predefined rules."""
EVERYTHING = EventFilter()


@frozen
class Rules:
    """The push rules of a user, as they are stored; None: they never changed any.

    `follows_threads`: with those that look at the threads that the user follows (MSC4306).
    """

    user_id: str
    stored: Mapping[str, object] | None
    follows_threads: bool = False

    def deviation(self, room_id: str) -> Deviation:
        if not self.stored:
            return Deviation.NONE
        return deviation(self.user_id, self._all(), room_id, follows_threads=self.follows_threads)

    def evaluator(self) -> Evaluator:
        if not self.stored:
            return default_evaluator(self.user_id, follows_threads=self.follows_threads)
        return compile_rules(self.user_id, self._all())

    def _all(self) -> JsonObject:
        return rules_of(self.user_id, dict(self.stored or {}), follows_threads=self.follows_threads)


@frozen
class UnreadReader:
    """`follows_threads` as of `Rules`."""

    events: EventStore
    state: StateStore
    follows_threads: bool = False

    def rules(self, txn: Transaction, user_id: str) -> Rules:
        return Rules(user_id, read_push_rules(txn, user_id), self.follows_threads)

    def count(self, txn: Transaction, user_id: str, rooms: RoomIds, upto: int) -> dict[int, RoomCounts]:
        """By room nid, what the user has not seen at `upto`."""
        rules, reader = self.rules(txn, user_id), Reader(user_id, read_ignored(txn, user_id))
        return self.count_after(txn, rules, reader, read_marks(txn, user_id, rooms), rooms, upto)

    def count_after(
        self,
        txn: Transaction,
        rules: Rules,
        reader: Reader,
        marks: Mapping[int, Marks],
        rooms: RoomIds,
        upto: int,
    ) -> dict[int, RoomCounts]:
        """As `count`, of a user of whom the rest is known; `marks` of these rooms, and maybe of others."""
        user_id = reader.user_id
        deviations = {nid: rules.deviation(room_id) for nid, room_id in rooms.items()}
        followed = self.followed(txn, user_id, rooms)
        deviations |= {nid: Deviation.OTHER for nid in followed if deviations[nid] is not Deviation.MUTED}
        by_rows = {
            nid: marks[nid] for nid, one in deviations.items() if one in {Deviation.NONE, Deviation.MENTIONS}
        }
        counted = count_notices(txn, reader, by_rows, upto)
        evaluator = rules.evaluator()
        for nid, one in deviations.items():
            if one is Deviation.MENTIONS:
                counted[nid] = only_highlights(counted[nid])
            elif one is Deviation.OTHER:
                roots = followed.get(nid, set())
                span = marks[nid].get(ALL_THREADS, 0), upto
                counted[nid] = self._evaluate(txn, reader, evaluator, nid, marks[nid], span, roots)
            elif self.follows_threads:
                counted[nid] = without_threads(counted.get(nid, {}))
        quiet = self.follows_threads
        return {
            nid: RoomCounts(upto, counted.get(nid, {}), deviations[nid], reader.ignored, quiet)
            for nid in rooms
        }

    def go_on(
        self, txn: Transaction, user_id: str, known: Mapping[int, RoomCounts], upto: int
    ) -> dict[int, RoomCounts]:
        """Counts at `upto`, by room, of rooms where each event is looked at and only others said something since.

        A room is absent where the user seems to have read something that was not there then.
        """
        rules, reader = self.rules(txn, user_id), Reader(user_id, read_ignored(txn, user_id))
        evaluator, marks = rules.evaluator(), read_marks(txn, user_id, known)
        followed = self.followed(txn, user_id, known)
        found = {}
        for nid, counts in known.items():
            if any(counts.position < mark <= upto for mark in marks[nid].values()):
                continue
            span, roots = (counts.position, upto), followed.get(nid, set())
            more = self._evaluate(txn, reader, evaluator, nid, marks[nid], span, roots)
            found[nid] = counts.with_more(more, upto)
        return found

    def followed(self, txn: Transaction, user_id: str, room_nids: Collection[int]) -> dict[int, set[str]]:
        """The threads that the user follows, by room, as far as rules look at them."""
        return followed_threads(txn, user_id, room_nids) if self.follows_threads else {}

    def follows(
        self, txn: Transaction, stored: StoredEvent, roots: Collection[str]
    ) -> Callable[[], bool | None]:
        """As of a `Context`, for a user who follows the threads with these roots."""

        def ask() -> bool | None:
            thread_id = thread_of_event(txn, stored) if self.follows_threads else MAIN_THREAD
            return None if thread_id == MAIN_THREAD else thread_id in roots

        return ask

    def with_notices(self, txn: Transaction, user_id: str, room_nids: Collection[int], upto: int) -> set[int]:
        """The rooms in which there is anything that the user has not read, whoever it is for."""
        marks = read_marks(txn, user_id, room_nids)
        return {nid for nid, threads in count_notices(txn, Reader(""), marks, upto).items() if threads}

    def moments(
        self, txn: Transaction, room_nid: int, placed: Sequence[tuple[int, int]]
    ) -> Iterator["Moment"]:
        """Events of a room, given by position and nid in order, with what rules ask of the room as it was then.

        Newest first: how many were in the room is counted back from now.
        """
        if not placed:
            return
        stored = self.events.load(txn, [nid for _, nid in placed])
        summary = read_summaries(txn, [room_nid]).get(room_nid)
        count = summary.joined if summary else 0
        steps = member_steps(txn, room_nid, placed[0][0])
        for position, nid in reversed(placed):
            while steps and steps[0][0] > position:
                count -= steps.pop(0)[1]
            if nid in stored:
                allowed = partial(may_notify, txn, self.events, self.state, stored[nid])
                yield Moment(position, stored[nid], count, allowed)

    def display_names(self, txn: Transaction, room_nid: int, user_ids: Collection[str]) -> dict[str, str]:
        """What those members of the room call themselves there."""
        nids = self.state.current(txn, [(room_nid, (MEMBER, user_id)) for user_id in user_ids])
        names = {
            stored.event.state_key: stored.event.content.get("displayname")
            for stored in self.events.load(txn, list(nids.values())).values()
        }
        return {user: name for user, name in names.items() if user is not None and isinstance(name, str)}

    def _evaluate(
        self,
        txn: Transaction,
        reader: Reader,
        evaluator: Evaluator,
        room_nid: int,
        marks: Marks,
        span: tuple[int, int],
        roots: Collection[str],
    ) -> dict[str, Count]:
        """Event by event, at positions after < position <= upto; `roots` are those of the threads that the reader follows."""
        places = room_nid, Place(span[0]), Place(span[1])
        entries = timeline.page(txn, places, MOST_LOOKED_AT, EVERYTHING, backwards=True)
        newest = [(place.position, nid) for place, nid in reversed(entries) if place.minor == 0]  # came live
        threads: dict[str, Count] = {}
        if len(entries) == MOST_LOOKED_AT:
            older = {**marks, ALL_THREADS: max(span[0], marks.get(ALL_THREADS, 0))}
            counted = count_notices(txn, reader, {room_nid: older}, entries[-1][0].position - 1)
            threads = only_highlights(counted[room_nid])
        name = self.display_names(txn, room_nid, [reader.user_id]).get(reader.user_id)
        for start in range(0, len(newest), PAGE):
            placed = self._wanted(txn, reader, newest[start : start + PAGE])
            for moment in reversed([*self.moments(txn, room_nid, placed)]):
                follows = self.follows(txn, moment.stored, roots)
                context = Context(moment.member_count, moment.may_notify, name, follows)
                actions = evaluator(moment.stored.event, context)
                thread_id = thread_of_event(txn, moment.stored) if actions.notify else ALL_THREADS
                if actions.notify and moment.position > mark_of(marks, thread_id):
                    known = threads.get(thread_id, Count())
                    threads[thread_id] = known.plus(moment.position, highlight=actions.highlight)
        return threads

    def _wanted(
        self, txn: Transaction, reader: Reader, placed: Sequence[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """What others sent whom the reader does not ignore, and what is not redacted."""
        unwanted = {reader.user_id, *reader.ignored}
        stored = self.events.load(txn, [nid for _, nid in placed])
        redacted = self.events.redactions(txn, list(stored))
        return [
            (position, nid)
            for position, nid in placed
            if nid in stored and nid not in redacted and stored[nid].event.sender not in unwanted
        ]


@frozen
class Moment:
    """An event at its position, the number of joined members then, and what its sender may notify (`Context`)."""

    position: int
    stored: StoredEvent
    member_count: int
    may_notify: Callable[[str], bool]
