"""Redact all events of a user (docs/architecture.md, "The way of a task").

The first step counts. Each further one redacts some events, room after room: it builds, signs and
stores the redactions in the transaction that also stores the cursor, so none is made twice.

Spammers come in numbers, and to the same rooms. Who writes into a room holds its lock, so that two tasks in
one room would only wait for each other: a room in which another redaction is at work comes last.
"""

from collections.abc import Iterable

from attrs import evolve
from pydantic import BaseModel, ConfigDict

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.ids import domain_of
from synapse_lite.matrix.event import Draft, Event
from synapse_lite.matrix.power_levels import PowerLevels
from synapse_lite.storage import redactions, rooms
from synapse_lite.storage.accounts import find_account
from synapse_lite.storage.append import EventAppender
from synapse_lite.storage.branches import Anchor, Write
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.redactions import Redactable
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.tasks import TaskItem, read_items, record_items
from synapse_lite.tasks.outcome import Done, Fail, Later, Next, Outcome
from synapse_lite.tasks.specs import Snapshot, TaskSpec, Upcast

CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")
REDACTION = "m.room.redaction"
MAX_BATCH = 200  # bounds how long the last statement of a step holds the stream
MAX_ROOMS = 50  # in one step, for a user of many rooms with little to redact
MAX_BUSY = 100  # rooms that are put off
FIRST_WAIT_S = 0.05  # when all rooms that are left are busy; then twice as long each time
LONGEST_WAIT_S = 5.0

FAILED = "failed"  # outcome of an event that could not be redacted; the detail says why
ROOM = "room"  # outcome of a room; the detail is a RoomReport as JSON
UNKNOWN_ROOM = "unknown_room"
WOULD_REDACT = "would_redact"  # outcome of a room in a dry run; the detail is a number of events
SHOWN_ROOMS = 1000  # in the result of a dry run


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RedactParams(_Model):
    """`rooms` empty: every room that holds an event of the user. `limit`: per room; None: no limit.

    `dry_run`: only count what would be redacted.
    """

    user_id: str
    rooms: tuple[str, ...] = ()
    reason: str | None = None
    limit: int | None = None
    use_admin: bool = False
    before_ts: int | None = None
    after_ts: int | None = None
    event_types: tuple[str, ...] | None = None
    dry_run: bool = False

    def wanted(self) -> Redactable:
        return Redactable(self.user_id, self.event_types, self.before_ts, self.after_ts)


class Branch(_Model):
    """Where the next redaction hangs when its sender is no longer joined."""

    event_nid: int
    snapshot_nid: int
    depth: int


class RoomCursor(_Model):
    """A room that is being worked on.

    `since`: with a limit, the stream position of the oldest event to redact. `before_nid`: events
    from here on are done.
    """

    room_nid: int
    room_id: str
    issuer: str
    branch: Branch | None
    since: int | None = None
    before_nid: int | None = None
    redacted: int = 0
    failed: int = 0


class RedactCursor(_Model):
    """`after_nid`: rooms up to here are done, or `busy` and to be done last; `room` None: the next has not begun.

    `waits`: how often in a row all rooms that are left were busy.
    """

    after_nid: int = 0
    room: RoomCursor | None = None
    busy: tuple[int, ...] = ()
    waits: int = 0
    rooms: int = 0
    redacted: int = 0
    failed: int = 0
    remaining: int = 0

    def begin(self, room: RoomCursor, busy: Iterable[int]) -> "RedactCursor":
        return self.model_copy(update={"room": room, "busy": tuple(busy), "waits": 0})


class RoomReport(_Model):
    """What became of a room, shown by the status endpoint.

    `issuer`: who redacted, at the end if that changed meanwhile. `remaining` counts what `limit` left
    out. `may_soft_fail`: the issuer is no longer joined, so that other servers in the room may keep the
    redactions from their clients.
    """

    issuer: str
    redacted: int
    failed: int
    remaining: int
    may_soft_fail: bool


REDACT_ALL_EVENTS = TaskSpec(
    action="redact_all_events",
    version=2,
    params=RedactParams,
    cursor=RedactCursor,
    resource=lambda params: params.user_id,
    unique=lambda params: None if params.dry_run else params.user_id,
    upcasts=(Upcast(version=1),),
)


class RedactAllEvents:
    """The step of `REDACT_ALL_EVENTS`."""

    def __init__(
        self, appender: EventAppender, events: EventStore, state: StateStore, clock: Clock, server_name: str
    ) -> None:
        self._appender = appender
        self._events = events
        self._state = state
        self._clock = clock
        self._server_name = server_name

    def step(self, txn: Transaction, task: Snapshot[RedactParams, RedactCursor]) -> Outcome:
        admin = find_account(txn, task.requester)
        if admin is None or not admin.is_admin or admin.deactivated:
            return Fail(f"{task.requester} is no longer a server admin")
        if task.cursor is None:
            return _plan(txn, task)
        if task.params.dry_run:
            return _count(txn, task, task.cursor)
        cursor = task.cursor
        budget = min(task.batch, MAX_BATCH)
        done = 0
        for number in range(MAX_ROOMS):
            if done == budget:
                break
            cursor = self._enter_next(txn, task, cursor)
            if cursor.room is None and cursor.busy:
                if number > 0:
                    break  # rooms are locked in order: those that were put off lie before what this step holds
                cursor = self._enter_busy(txn, task, cursor)
                if cursor.room is None:
                    return _wait(cursor) if cursor.busy else Next(cursor)
            if cursor.room is None:
                return Done(_result(cursor), done=done)
            after = self._redact_some(txn, task, cursor, cursor.room, budget - done)
            done += after.redacted + after.failed - cursor.redacted - cursor.failed
            cursor = after
        return Next(cursor, done=done)

    def _enter_next(
        self, txn: Transaction, task: Snapshot[RedactParams, RedactCursor], cursor: RedactCursor
    ) -> RedactCursor:
        """At the room to work on, locked: whoever may redact now may do so until the commit.

        `room` is None when only busy rooms are left, or none. Rooms that are being purged are passed over.
        """
        params, room, after_nid, busy = task.params, cursor.room, cursor.after_nid, list(cursor.busy)
        if room is not None:
            if redactions.lock_room(txn, room.room_nid):
                issuer, branch = self._issuer(txn, task, room.room_nid)
                branch = branch and (room.branch or branch)
                return cursor.begin(room.model_copy(update={"issuer": issuer, "branch": branch}), busy)
            after_nid = max(after_nid, room.room_nid)
        while len(busy) < MAX_BUSY and (
            found := redactions.next_room(txn, params.user_id, after_nid, params.rooms)
        ):
            after_nid, room_id = found
            taken = redactions.is_taken(txn, after_nid, task.id, REDACT_ALL_EVENTS.action)
            if taken is False and redactions.lock_room(txn, after_nid, wait=False):
                return cursor.begin(self._begin(txn, task, after_nid, room_id), busy)
            if taken is not None:
                busy.append(after_nid)
        return cursor.model_copy(update={"after_nid": after_nid, "room": None, "busy": tuple(busy)})

    def _enter_busy(
        self, txn: Transaction, task: Snapshot[RedactParams, RedactCursor], cursor: RedactCursor
    ) -> RedactCursor:
        """At the first one of the busy rooms that is so no longer, locked; `room` is None when all still are."""
        busy: list[int] = []
        for index, room_nid in enumerate(cursor.busy):
            later = cursor.busy[index + 1 :]
            if redactions.is_taken(txn, room_nid, task.id, REDACT_ALL_EVENTS.action):
                busy.append(room_nid)
            elif room_id := redactions.lock_room(txn, room_nid):
                if redactions.is_taken(txn, room_nid, task.id, REDACT_ALL_EVENTS.action):
                    busy.append(room_nid)  # it was the first step of another redaction that had the lock
                    return cursor.model_copy(update={"busy": (*busy, *later)})
                return cursor.begin(self._begin(txn, task, room_nid, room_id), (*busy, *later))
        return cursor.model_copy(update={"busy": tuple(busy)})

    def _begin(
        self, txn: Transaction, task: Snapshot[RedactParams, RedactCursor], room_nid: int, room_id: str
    ) -> RoomCursor:
        params = task.params
        issuer, branch = self._issuer(txn, task, room_nid)
        since = params.limit and redactions.newest_since(txn, params.wanted(), room_nid, params.limit)
        return RoomCursor(room_nid=room_nid, room_id=room_id, issuer=issuer, branch=branch, since=since)

    def _issuer(
        self, txn: Transaction, task: Snapshot[RedactParams, RedactCursor], room_nid: int
    ) -> tuple[str, Branch | None]:
        """Who redacts, and where in the room: None for its head.

        The user; else an admin with the power to do so; else the user as of the time when they were joined.
        """
        user_id, admin_id = task.params.user_id, task.requester
        if task.params.use_admin or domain_of(user_id) != self._server_name:
            return admin_id, None
        for issuer in (user_id, admin_id):
            if self._may_redact(txn, room_nid, issuer, own=issuer == user_id):
                return issuer, None
        anchor = redactions.last_stay(txn, user_id, room_nid)
        if anchor is None:
            return admin_id, None
        return user_id, Branch(
            event_nid=anchor.event_nid, snapshot_nid=anchor.snapshot_nid, depth=anchor.depth
        )

    def _may_redact(self, txn: Transaction, room_nid: int, user_id: str, *, own: bool) -> bool:
        """Whether the room lets the user redact their own events, or those of others."""
        if not _is_joined(txn, room_nid, user_id):
            return False
        current = self._state.current(txn, [(room_nid, CREATE), (room_nid, POWER_LEVELS)])
        events = self._events.load(txn, list(current.values()))
        state: dict[str, Event] = {stored.event.type: stored.event for stored in events.values()}
        levels = PowerLevels.read(state[CREATE[0]], state.get(POWER_LEVELS[0]))
        needed = levels.required(REDACTION, is_state=False)
        return levels.user(user_id) >= (needed if own else max(needed, levels.redact))

    def _redact_some(
        self, txn: Transaction, task: Snapshot[RedactParams, RedactCursor], cursor: RedactCursor, room: RoomCursor,
        budget: int,
    ) -> RedactCursor:  # fmt: skip
        """At most `budget` events of the room; the cursor after them."""
        params = task.params
        left = budget if params.limit is None else min(budget, params.limit - room.redacted - room.failed)
        wanted = evolve(params.wanted(), since=room.since)
        targets = redactions.to_redact(txn, wanted, room.room_nid, room.before_nid, left)
        results = self._appender.append(txn, [self._write(params, room, event_id) for _, event_id in targets])
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
                "branch": room.branch and _end_of(redacted, room.branch),
                "redacted": room.redacted + len(redacted),
                "failed": room.failed + len(failures),
            }
        )
        cursor = cursor.model_copy(
            update={
                "room": room,
                "redacted": cursor.redacted + len(redacted),
                "failed": cursor.failed + len(failures),
            }
        )
        return cursor if targets and len(targets) == budget else self._finish_room(txn, task, cursor, room)

    def _finish_room(
        self,
        txn: Transaction,
        task: Snapshot[RedactParams, RedactCursor],
        cursor: RedactCursor,
        room: RoomCursor,
    ) -> RedactCursor:
        remaining = 0
        if task.params.limit is not None:
            left = redactions.count_left(txn, task.params.wanted(), room.room_nid)
            remaining = max(0, left - room.failed)
        soft = room.branch is not None and redactions.has_remote_members(
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
        return cursor.model_copy(
            update={
                "after_nid": max(cursor.after_nid, room.room_nid),
                "room": None,
                "rooms": cursor.rooms + 1,
                "remaining": cursor.remaining + remaining,
            }
        )

    def _write(self, params: RedactParams, room: RoomCursor, event_id: str) -> Write:
        content: JsonObject = {} if params.reason is None else {"reason": params.reason}
        branch = room.branch
        return Write(
            room.room_nid,
            Draft(REDACTION, room.issuer, content, self._clock.now_ms(), redacts=event_id),
            anchor=Anchor(branch.event_nid, branch.snapshot_nid, branch.depth) if branch else None,
            privileged=domain_of(params.user_id) == self._server_name,
        )


def _plan(txn: Transaction, task: Snapshot[RedactParams, RedactCursor]) -> Next:
    params = task.params
    unknown = redactions.unknown_rooms(txn, params.rooms)
    record_items(txn, task.id, [TaskItem(room_id, UNKNOWN_ROOM, None) for room_id in unknown])
    total = redactions.count_to_redact(txn, params.wanted(), params.rooms, params.limit)
    return Next(RedactCursor(), phase="count" if params.dry_run else "redact", total=total)


def _count(txn: Transaction, task: Snapshot[RedactParams, RedactCursor], cursor: RedactCursor) -> Next | Done:
    """A step of a dry run: the same walk, which neither locks nor writes but for the cursor."""
    params = task.params
    done = 0
    for _ in range(MAX_ROOMS):
        room = cursor.room
        if room is None:
            found = redactions.next_room(txn, params.user_id, cursor.after_nid, params.rooms)
            if found is None:
                return Done(_counts(txn, task.id, cursor), done=done)
            room = RoomCursor(room_nid=found[0], room_id=found[1], issuer="", branch=None)
        budget = task.batch - done
        left = budget if params.limit is None else min(budget, params.limit - room.redacted)
        targets = redactions.to_redact(txn, params.wanted(), room.room_nid, room.before_nid, left)
        done += len(targets)
        room = room.model_copy(
            update={
                "before_nid": targets[-1][0] if targets else None,
                "redacted": room.redacted + len(targets),
            }
        )
        if len(targets) == budget:
            return Next(cursor.model_copy(update={"room": room}), done=done)
        if room.redacted:
            record_items(txn, task.id, [TaskItem(room.room_id, WOULD_REDACT, str(room.redacted))])
        cursor = RedactCursor(after_nid=room.room_nid, redacted=cursor.redacted + room.redacted)
    return Next(cursor, done=done)


def _counts(txn: Transaction, task_id: str, cursor: RedactCursor) -> JsonObject:
    items = read_items(txn, task_id, outcome=WOULD_REDACT, after=None, limit=SHOWN_ROOMS)
    return {
        "would_redact": cursor.redacted,
        "rooms": {item.item: int(item.detail or 0) for item in items},
    }


def _wait(cursor: RedactCursor) -> Later:
    seconds = min(FIRST_WAIT_S * 2 ** min(cursor.waits, 30), LONGEST_WAIT_S)
    return Later(cursor.model_copy(update={"waits": cursor.waits + 1}), seconds)


def _is_joined(txn: Transaction, room_nid: int, user_id: str) -> bool:
    membership = rooms.membership_in(txn, room_nid, user_id)
    return membership is not None and membership.membership == "join"


def _end_of(redacted: list[StoredEvent], branch: Branch) -> Branch:
    if not redacted:
        return branch
    last = redacted[-1]
    return Branch(event_nid=last.nid, snapshot_nid=last.after_nid, depth=last.event.depth)


def _result(cursor: RedactCursor) -> JsonObject:
    return {
        "rooms": cursor.rooms,
        "redacted": cursor.redacted,
        "failed": cursor.failed,
        "remaining": cursor.remaining,
        "truncated": cursor.remaining > 0,
    }
