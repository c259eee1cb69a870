"""The step of the task: from room to room, and some redactions in each."""

from collections.abc import Collection, Sequence
from functools import partial

from attrs import evolve, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.ids import is_local
from synapse_lite.matrix.event import Draft
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.values import Point, Result, Write
from synapse_lite.storage import redact_targets
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import OperationalError, Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.heads import RoomHead, lock_free_heads, lock_heads, read_head
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.tasks import TaskItem, record_items
from synapse_lite.tasks.actions.delete_media import DELETE_MEDIA, DeleteMediaParams
from synapse_lite.tasks.actions.redact_all_events import dry_run
from synapse_lite.tasks.actions.redact_all_events.issuers import REDACTION, Issuers
from synapse_lite.tasks.actions.redact_all_events.spec import (
    FAILED,
    FAILED_ROOM,
    ROOM,
    Place,
    RedactCursor,
    RedactParams,
    RedactTask,
    RoomCursor,
    RoomReport,
)
from synapse_lite.tasks.actions.withdraw_invites import WITHDRAW_INVITES, WithdrawInvitesParams
from synapse_lite.tasks.errors import describe
from synapse_lite.tasks.outcome import Done, Later, Next, Outcome
from synapse_lite.tasks.queue import new_task

MAX_BATCH = 200  # bounds how long the last statement of a step holds the stream
PIECE = 40  # after so many the step looks whether somebody wants to write into the room
MAX_ROOMS = 50  # in one step, for a user of many rooms with little to redact
MAX_BUSY = 100  # rooms that are put off
FIRST_WAIT_S = 0.05  # when all rooms that are left are busy; then twice as long each time
LONGEST_WAIT_S = 5.0
ATTEMPTS_IN_A_ROOM = 3  # when the database refuses to go on there, as it may do anywhere for a while

Targets = Sequence[tuple[int, str]]


@frozen
class _Entered:
    """A room that is locked: whoever may redact there now may do so until the commit.

    `joined`: who of the possible issuers is, where that was found out before. `is_known`: this step has found out who redacts.
    """

    head: RoomHead
    joined: Collection[str] | None
    is_known: bool = False

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
        self._events = events
        self._issuers = Issuers(appender.heads, events, state, server_name)
        self._clock = clock
        self._server_name = server_name

    def step(self, txn: Transaction, task: RedactTask) -> Outcome:
        if task.cursor is None:
            return dry_run.plan(txn, task)
        if task.params.dry_run:
            return dry_run.count(txn, task, task.cursor)
        cursor = task.cursor
        budget = min(task.batch, MAX_BATCH)
        done = 0
        entered: _Entered | None = None
        for number in range(MAX_ROOMS):
            if cursor.room is None or entered is None:
                cursor, entered = self._enter_next(txn, task, cursor)
            if entered is None and cursor.busy:
                if number > 0:
                    break  # rooms are locked in order: those that were put off lie before what this step holds
                cursor, entered = self._enter_busy(txn, task, cursor)
                if entered is None:
                    return _wait(cursor) if cursor.busy else Next(cursor)
            if entered is None:
                return Done(_result(cursor) | _follow_up(txn, task), done=done)
            after = self._work(txn, task, cursor, entered, min(PIECE, budget - done))
            done += after.redacted + after.failed - cursor.redacted - cursor.failed
            cursor, entered = after, evolve(entered, is_known=True)
            is_done = cursor.room is None and done > 0  # nobody waits for one room while another is worked on
            if is_done or done == budget or redact_targets.is_awaited(txn):
                break
        return Next(cursor, done=done)

    def on_cancel(self, txn: Transaction, task: RedactTask) -> None:
        redact_targets.release_rooms(txn, task.id)

    # From room to room

    def _enter_next(
        self, txn: Transaction, task: RedactTask, cursor: RedactCursor
    ) -> tuple[RedactCursor, _Entered | None]:
        """The room to work on; None when only busy rooms are left, or none.

        Rooms that are being purged are passed over.
        """
        room, after_nid, busy = cursor.room, cursor.after_nid, list(cursor.busy)
        if room is not None:
            if entered := self._enter(txn, task, room.room_nid, room):
                return cursor, entered
            after_nid = max(after_nid, room.room_nid)
        while len(busy) < MAX_BUSY and (
            found := redact_targets.next_room(txn, task.params.user_id, after_nid, task.params.rooms)
        ):
            after_nid, _ = found
            taken = redact_targets.is_taken(txn, after_nid, task.id)
            if taken is False and (entered := self._enter(txn, task, after_nid, wait=False)):
                return cursor.at(after_nid, busy), entered
            if taken is not None:
                busy.append(after_nid)
        return cursor.at(after_nid, busy), None

    def _enter_busy(
        self, txn: Transaction, task: RedactTask, cursor: RedactCursor
    ) -> tuple[RedactCursor, _Entered | None]:
        """The first one of the busy rooms that is so no longer; None when all still are."""
        busy: list[int] = []
        for index, room_nid in enumerate(cursor.busy):
            later = cursor.busy[index + 1 :]
            if redact_targets.is_taken(txn, room_nid, task.id):
                busy.append(room_nid)
            elif entered := self._enter(txn, task, room_nid):
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
        room: RoomCursor | None = None,
        *,
        wait: bool = True,
    ) -> _Entered | None:
        """Lock the room. None when it is being purged, or is gone; without `wait`, also when somebody else has locked it.

        Others wait for that lock. So what is needed under it is read before, and is in memory then.
        """
        joined = txn.attempt(partial(self._read_ahead, task=task, room_nid=room_nid, room=room))
        if wait:
            heads = lock_heads(txn, [room_nid], even_closed=False)
        else:
            heads, _ = lock_free_heads(txn, [room_nid])
        return _Entered(heads[0], None if isinstance(joined, Exception) else joined) if heads else None

    def _read_ahead(
        self, txn: Transaction, task: RedactTask, room_nid: int, room: RoomCursor | None
    ) -> Collection[str] | None:
        """Who of the possible issuers is joined. What goes wrong here does so again under the lock, and is noted there."""
        head = read_head(txn, room_nid)
        if head is None:
            return None
        before_nid = room.before_nid if room else None
        targets = redact_targets.to_redact(txn, task.params.wanted(), room_nid, before_nid, PIECE)
        return self._issuers.read_ahead(txn, task, head, [nid for nid, _ in targets])

    # In a room

    def _work(
        self, txn: Transaction, task: RedactTask, cursor: RedactCursor, entered: _Entered, budget: int
    ) -> RedactCursor:
        """At most `budget` events of the room; the cursor after them. What goes wrong is undone, and noted."""
        after = txn.attempt(
            partial(self._redact_some, task=task, cursor=cursor, entered=entered, budget=budget)
        )
        if not isinstance(after, Exception):
            return after
        if isinstance(after, OperationalError) and task.attempt < ATTEMPTS_IN_A_ROOM:
            raise after
        record_items(txn, task.id, [TaskItem(entered.room_id, FAILED_ROOM, describe(after))])
        left = _leave(txn, task, cursor, entered.nid)
        return left.model_copy(update={"failed_rooms": cursor.failed_rooms + 1})

    def _redact_some(
        self, txn: Transaction, task: RedactTask, cursor: RedactCursor, entered: _Entered, budget: int
    ) -> RedactCursor:
        room = cursor.room
        if room is None or not entered.is_known:
            room = self._continue(txn, task, entered, room) or self._begin(txn, task, entered)
        params = task.params
        left = budget if params.limit is None else min(budget, params.limit - room.redacted - room.failed)
        wanted = evolve(params.wanted(), since=room.since)
        targets = redact_targets.to_redact(txn, wanted, room.room_nid, room.before_nid, left)
        results = self._redact(txn, task, entered, room, targets)
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
        if not targets or len(targets) < budget:
            return self._finish(txn, task, after, room)
        if cursor.room is None:
            redact_targets.claim_room(txn, room.room_nid, task.id)
        return after

    def _begin(self, txn: Transaction, task: RedactTask, entered: _Entered) -> RoomCursor:
        params, issuer = task.params, self._issuers.find(txn, task, entered.head, entered.joined)
        since = params.limit and redact_targets.newest_since(txn, params.wanted(), entered.nid, params.limit)
        return RoomCursor(
            room_nid=entered.nid,
            room_id=entered.room_id,
            issuer=issuer.user_id,
            place=issuer.place,
            since=since,
        )

    def _continue(
        self, txn: Transaction, task: RedactTask, entered: _Entered, room: RoomCursor | None
    ) -> RoomCursor | None:
        """Who redacts may have changed since the last step, and what the redactions hang on may be purged."""
        if room is None:
            return None
        issuer = self._issuers.find(txn, task, entered.head, entered.joined)
        place = issuer.place
        if place is not None and room.place is not None and redact_targets.exists(txn, room.place.event_nid):
            place = room.place
        return room.model_copy(update={"issuer": issuer.user_id, "place": place})

    def _finish(
        self, txn: Transaction, task: RedactTask, cursor: RedactCursor, room: RoomCursor
    ) -> RedactCursor:
        remaining = 0
        if task.params.limit is not None:
            left = redact_targets.count_left(txn, task.params.wanted(), room.room_nid)
            remaining = max(0, left - room.failed)
        soft = room.place is not None and redact_targets.has_remote_members(
            txn, room.room_nid, self._server_name
        )
        report = RoomReport(
            issuer=room.issuer,
            redacted=room.redacted,
            failed=room.failed,
            remaining=remaining,
            may_soft_fail=soft,
        )
        record_items(txn, task.id, [TaskItem(room.room_id, ROOM, report.model_dump_json())])
        left_cursor = _leave(txn, task, cursor, room.room_nid)
        return left_cursor.model_copy(
            update={"rooms": cursor.rooms + 1, "remaining": cursor.remaining + remaining}
        )

    def _redact(
        self, txn: Transaction, task: RedactTask, entered: _Entered, room: RoomCursor, targets: Targets
    ) -> list[Result]:
        """In the same order."""
        writes = [self._write(task.params, room, event_id) for _, event_id in targets]
        head = entered.head
        if entered.is_known and writes:  # it has moved on
            (head,) = lock_heads(txn, [entered.nid], even_closed=False)
        known = self._events.load(txn, [nid for nid, _ in targets])
        return self._appender.redact(txn, head, writes, list(known.values()))

    def _write(self, params: RedactParams, room: RoomCursor, event_id: str) -> Write:
        content: JsonObject = {} if params.reason is None else {"reason": params.reason}
        place = room.place
        return Write(
            room.room_nid,
            Draft(REDACTION, room.issuer, content, self._clock.now_ms(), redacts=event_id),
            point=Point((place.event_nid,), place.snapshot_nid) if place else None,
            privileged=is_local(params.user_id, self._server_name),
        )


def _leave(txn: Transaction, task: RedactTask, cursor: RedactCursor, room_nid: int) -> RedactCursor:
    redact_targets.release_room(txn, room_nid, task.id)
    return cursor.at(max(cursor.after_nid, room_nid), cursor.busy)


def _wait(cursor: RedactCursor) -> Later:
    seconds = min(FIRST_WAIT_S * 2 ** min(cursor.waits, 30), LONGEST_WAIT_S)
    return Later(cursor.model_copy(update={"waits": cursor.waits + 1}), seconds)


def _behind(redacted: list[StoredEvent], place: Place) -> Place:
    """The redactions of a room make a chain; none of them changes the state."""
    return place.model_copy(update={"event_nid": redacted[-1].nid}) if redacted else place


def _follow_up(txn: Transaction, task: RedactTask) -> JsonObject:
    """In the transaction that ends the redaction: asked for exactly once."""
    user_id, endpoint = task.params.user_id, f"task {task.id}"
    started: JsonObject = {}
    if task.params.delete_media:
        deletion = new_task(
            DELETE_MEDIA, DeleteMediaParams(user_id=user_id), requester=task.requester, endpoint=endpoint
        )
        started["delete_media_task"] = store.enqueue(txn, deletion)
    if task.params.withdraw_invites:
        withdrawal = new_task(
            WITHDRAW_INVITES,
            WithdrawInvitesParams(user_id=user_id),
            requester=task.requester,
            endpoint=endpoint,
        )
        started["withdraw_invites_task"] = store.enqueue(txn, withdrawal)
    return started


def _result(cursor: RedactCursor) -> JsonObject:
    return {
        "rooms": cursor.rooms,
        "failed_rooms": cursor.failed_rooms,
        "redacted": cursor.redacted,
        "failed": cursor.failed,
        "remaining": cursor.remaining,
        "truncated": cursor.remaining > 0,
    }
