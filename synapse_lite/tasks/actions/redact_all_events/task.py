"""The step of the task: from room to room, and some redactions in each."""

from functools import partial

from attrs import evolve, frozen

from synapse_lite.clock import Clock, doubling_pause
from synapse_lite.errors import MatrixError
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.values import Result
from synapse_lite.storage import redact_targets
from synapse_lite.storage.database import OperationalError, Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.heads import RoomHead, lock_free_heads, lock_heads
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.tasks import TaskItem, record_items
from synapse_lite.tasks.actions.redact_all_events import dry_run, ending
from synapse_lite.tasks.actions.redact_all_events.issuers import Issuers
from synapse_lite.tasks.actions.redact_all_events.opening import PIECE, Opener, Opening, Visit
from synapse_lite.tasks.actions.redact_all_events.spec import (
    FAILED,
    FAILED_ROOM,
    ROOM,
    Place,
    RedactCursor,
    RedactTask,
    RoomCursor,
    RoomReport,
)
from synapse_lite.tasks.errors import describe
from synapse_lite.tasks.outcome import Done, Later, Next, Outcome

MAX_BATCH = 200  # bounds how long the last statement of a step holds the stream
MAX_ROOMS = 50  # in one step, for a user of many rooms with little to redact
MAX_BUSY = 100  # rooms that are put off
FIRST_WAIT_S = 0.05  # when all rooms that are left are busy; then twice as long each time
LONGEST_WAIT_S = 5.0
ATTEMPTS_IN_A_ROOM = 3  # when the database refuses to go on there, as it may do anywhere for a while


@frozen
class _Entered:
    """A room that is locked: whoever may redact there now may do so until the commit.

    `opening`: what was found out before.
    """

    head: RoomHead
    opening: Opening | None

    @property
    def nid(self) -> int:
        return self.head.room.nid

    @property
    def room_id(self) -> str:
        return self.head.room.room_id


class RedactAllEvents:
    """The step of `REDACT_ALL_EVENTS`."""

    def __init__(
        self, appender: EventAppender, events: EventStore, state: StateStore, clock: Clock, server_name: str
    ) -> None:
        self._appender = appender
        issuers = Issuers(appender.heads, events, state, server_name)
        self._opener = Opener(appender, events, issuers, clock, server_name)

    def step(self, txn: Transaction, task: RedactTask) -> Outcome:
        if task.cursor is None:
            return dry_run.plan(txn, task)
        if task.params.dry_run:
            return dry_run.count(txn, task, task.cursor)
        cursor = task.cursor
        budget = min(task.batch, MAX_BATCH)
        for number in range(MAX_ROOMS):
            cursor, entered = self._enter_next(txn, task, cursor, budget)
            if entered is None and cursor.busy:
                if number > 0:
                    break  # rooms are locked in order: those that were put off lie before what this step holds
                cursor, entered = self._enter_busy(txn, task, cursor, budget)
                if entered is None:
                    return _wait(cursor) if cursor.busy else Next(cursor)
            if entered is None:
                return Done(ending.result(cursor) | ending.follow_up(txn, task))
            before, cursor = cursor, self._work(txn, task, cursor, entered, budget)
            done = cursor.redacted + cursor.failed - before.redacted - before.failed
            if done > 0:  # nobody waits for one room while another is worked on
                return Next(cursor, done=done)
        return Next(cursor)

    def on_cancel(self, txn: Transaction, task: RedactTask) -> None:
        redact_targets.release_rooms(txn, task.id)

    # From room to room

    def _enter_next(
        self, txn: Transaction, task: RedactTask, cursor: RedactCursor, budget: int
    ) -> tuple[RedactCursor, _Entered | None]:
        """The room to work on; None when only busy rooms are left, or none.

        Rooms that are being purged are passed over.
        """
        room, after_nid, busy = cursor.room, cursor.after_nid, list(cursor.busy)
        if room is not None:
            if entered := self._enter(txn, task, room.room_nid, budget, room):
                return cursor, entered
            after_nid = max(after_nid, room.room_nid)
        while len(busy) < MAX_BUSY and (
            found := redact_targets.next_room(txn, task.params.user_id, after_nid, task.params.rooms)
        ):
            after_nid, _ = found
            taken = redact_targets.is_taken(txn, after_nid, task.id)
            if taken is False and (entered := self._enter(txn, task, after_nid, budget, wait=False)):
                return cursor.at(after_nid, busy), entered
            if taken is not None:
                busy.append(after_nid)
        return cursor.at(after_nid, busy), None

    def _enter_busy(
        self, txn: Transaction, task: RedactTask, cursor: RedactCursor, budget: int
    ) -> tuple[RedactCursor, _Entered | None]:
        """The first one of the busy rooms that is so no longer; None when all still are."""
        busy: list[int] = []
        for index, room_nid in enumerate(cursor.busy):
            later = cursor.busy[index + 1 :]
            if redact_targets.is_taken(txn, room_nid, task.id):
                busy.append(room_nid)
            elif entered := self._enter(txn, task, room_nid, budget):
                if redact_targets.is_taken(txn, room_nid, task.id):
                    busy.append(room_nid)  # it was the first step of another redaction that had the lock
                    return cursor.at(cursor.after_nid, (*busy, *later)), None
                return cursor.at(cursor.after_nid, (*busy, *later)), entered
        return cursor.at(cursor.after_nid, busy), None

    def _enter(
        self,
        txn: Transaction,
        task: RedactTask,
        room_nid: int,
        budget: int,
        room: RoomCursor | None = None,
        *,
        wait: bool = True,
    ) -> _Entered | None:
        """Lock the room. None when it is being purged, or is gone; without `wait`, also when somebody else has locked it.

        What goes wrong before the lock does so again under it, and is noted there.
        """
        ahead = partial(self._opener.ahead, task=task, room_nid=room_nid, room=room, budget=budget)
        opening = txn.attempt(ahead)
        lock = partial(lock_heads, even_closed=False) if wait else lock_free_heads
        heads = lock(txn, [room_nid])
        return _Entered(heads[0], None if isinstance(opening, Exception) else opening) if heads else None

    # In a room

    def _work(
        self, txn: Transaction, task: RedactTask, cursor: RedactCursor, entered: _Entered, budget: int
    ) -> RedactCursor:
        """About `budget` events of the room, and fewer when somebody waits for it; the cursor after them.

        What goes wrong is undone, and noted.
        """
        visit: Visit | None = None
        while visit is None or visit.targets:
            piece = partial(
                self._redact_piece, task=task, cursor=cursor, entered=entered, visit=visit, budget=budget
            )
            result = txn.attempt(piece)
            if isinstance(result, Exception):
                return self._give_up(txn, task, cursor, entered, result)
            cursor, visit = result
        return cursor

    def _give_up(
        self, txn: Transaction, task: RedactTask, cursor: RedactCursor, entered: _Entered, error: Exception
    ) -> RedactCursor:
        if isinstance(error, OperationalError) and task.attempt < ATTEMPTS_IN_A_ROOM:
            raise error
        record_items(txn, task.id, [TaskItem(entered.room_id, FAILED_ROOM, describe(error))])
        left = _leave(txn, task, cursor, entered.nid)
        return left.model_copy(update={"failed_rooms": cursor.failed_rooms + 1})

    def _redact_piece(
        self,
        txn: Transaction,
        task: RedactTask,
        cursor: RedactCursor,
        entered: _Entered,
        visit: Visit | None,
        budget: int,
    ) -> tuple[RedactCursor, Visit]:
        """The next events of the visit, which begins where there is none."""
        room, piece = cursor.room, None
        if room is None or visit is None:
            opening = self._opener.under_lock(txn, task, entered.head, room, budget, entered.opening)
            room, visit, piece = opening.room, opening.visit, opening.first
        targets, rest = visit.targets[:PIECE], visit.targets[PIECE:]
        results, heads = list[Result](), visit.heads
        if targets:
            piece = piece or self._opener.build(txn, task, entered.head, room, visit)
            results, heads = self._appender.store(txn, piece.built), piece.heads
        failures = [
            TaskItem(event_id, FAILED, str(result))
            for (_, event_id), result in zip(targets, results, strict=True)
            if isinstance(result, MatrixError)
        ]
        record_items(txn, task.id, failures)
        redacted = [result for result in results if isinstance(result, StoredEvent)]
        room = room.model_copy(
            update={
                "before_nid": targets[-1][0] if targets else room.before_nid,
                "place": room.place and _behind(redacted, room.place),
                "redacted": room.redacted + len(redacted),
                "failed": room.failed + len(failures),
            }
        )
        after = cursor.model_copy(
            update={
                "room": room,
                "waits": 0,
                "redacted": cursor.redacted + len(redacted),
                "failed": cursor.failed + len(failures),
            }
        )
        if visit.is_all and not rest:
            after = _finish(txn, task, after, room, visit)
        elif cursor.room is None:
            redact_targets.claim_room(txn, room.room_nid, task.id)
        if rest and redact_targets.is_awaited(txn):
            rest = []
        return after, evolve(visit, targets=rest, heads=heads)


def _finish(
    txn: Transaction, task: RedactTask, cursor: RedactCursor, room: RoomCursor, visit: Visit
) -> RedactCursor:
    remaining = 0
    if task.params.limit is not None:
        left = redact_targets.count_left(txn, task.params.wanted(), room.room_nid)
        remaining = max(0, left - room.failed)
    report = RoomReport(
        issuer=room.issuer,
        redacted=room.redacted,
        failed=room.failed,
        remaining=remaining,
        may_soft_fail=visit.may_soft_fail,
    )
    record_items(txn, task.id, [TaskItem(room.room_id, ROOM, report.model_dump_json())])
    left_cursor = _leave(txn, task, cursor, room.room_nid)
    return left_cursor.model_copy(
        update={"rooms": cursor.rooms + 1, "remaining": cursor.remaining + remaining}
    )


def _leave(txn: Transaction, task: RedactTask, cursor: RedactCursor, room_nid: int) -> RedactCursor:
    redact_targets.release_room(txn, room_nid, task.id)
    return cursor.at(max(cursor.after_nid, room_nid), cursor.busy)


def _wait(cursor: RedactCursor) -> Later:
    seconds = doubling_pause(FIRST_WAIT_S, cursor.waits, LONGEST_WAIT_S)
    return Later(cursor.model_copy(update={"waits": cursor.waits + 1}), seconds)


def _behind(redacted: list[StoredEvent], place: Place) -> Place:
    """The redactions of a room make a chain; none of them changes the state."""
    return place.model_copy(update={"event_nid": redacted[-1].nid}) if redacted else place
