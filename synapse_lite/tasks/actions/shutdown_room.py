"""Shut a room down: its invites withdrawn, its members out (into a new room, if one is wanted), its aliases moved, its rows deleted.

Each step does a part of one phase. What became of each member and alias is an item of the task.
"""

from enum import StrEnum

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.types import MEMBER, MESSAGE
from synapse_lite.rooms.append import EventAppender, append_all
from synapse_lite.rooms.create import NewRoom, create_room
from synapse_lite.rooms.members import join_draft, leave_draft
from synapse_lite.rooms.values import Write
from synapse_lite.storage import aliases as alias_store
from synapse_lite.storage import purge, rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.invites import invites_elsewhere
from synapse_lite.storage.outgoing import is_waiting, untold
from synapse_lite.storage.room_closure import block_room, close_room, reopen_room
from synapse_lite.storage.room_servers import all_servers
from synapse_lite.storage.tasks import TaskItem, record_items
from synapse_lite.tasks.actions.pace import rest
from synapse_lite.tasks.actions.purge_room import STILL_JOINED
from synapse_lite.tasks.actions.room_rows import Walk, count_rows, delete_rows
from synapse_lite.tasks.actions.withdraw_invites import FAILED_TO_WITHDRAW, WITHDRAWN
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Fail, Later, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView, Upcast

MAX_LEAVES = 20  # in one step: each is an event, and holds the stream for a moment
LEAVES_AT_ONCE = 10  # then a rest
WAIT_SECONDS = 0.5
MAX_WAITS = 60  # servers that take longer than half a minute do not hear of the end of the room
MAX_UNTOLD = 1000  # of those servers that are named
ROWS_OF_A_LEAVE = 4  # an event, its position, its snapshot, and that the state changed

# Outcomes of items.
KICKED = "kicked"
FAILED_TO_KICK = "failed_to_kick"
MOVED_ALIAS = "moved_alias"
NEW_ROOM = "new_room"
UNTOLD = "untold_server"


class Phase(StrEnum):
    COUNT = "count"
    CREATE_ROOM = "new_room"
    INVITES = "invites"
    MEMBERS = "members"
    ALIASES = "aliases"
    PURGE = "purge"


class Replacement(TaskModel):
    """The new room: as its creator would have made it. `state` follows the creator's join, in that order."""

    creator: str
    version: str
    create: JsonObject
    state: tuple[tuple[str, str, JsonObject], ...]
    message: str


class ShutdownParams(TaskModel):
    """`force_purge`: although users of this server are still joined. `dry_run`: only count."""

    room_id: str
    new_room: Replacement | None = None
    block: bool = False
    purge: bool = True
    force_purge: bool = False
    dry_run: bool = False


class ShutdownCursor(TaskModel):
    """`after_user`: invites of users up to here are withdrawn; then, members up to here are out. `waited`: how often for other servers.

    `was_whole`: events could be added when it began. `untold`: servers that will not hear of the end.
    `forgotten`: of how many it was told that the room is hidden from them.
    """

    phase: Phase
    room_nid: int
    was_whole: bool
    counted: Walk = Walk()
    new_room_nid: int | None = None
    new_room_id: str | None = None
    after_user: str = ""
    withdrawn: int = 0
    kicked: int = 0
    failed: int = 0
    forgotten: int = 0
    aliases: int = 0
    waited: int = 0
    untold: int = 0
    deleted: Walk = Walk()


ShutdownTask = TaskView[ShutdownParams, ShutdownCursor]

SHUTDOWN_AND_PURGE_ROOM = TaskSpec(
    action="shutdown_and_purge_room",
    version=2,
    params=ShutdownParams,
    cursor=ShutdownCursor,
    resource=lambda params: params.room_id,
    unique=lambda params: f"{params.room_id} (dry run)" if params.dry_run else params.room_id,
    lock=lambda params: f"room:{params.room_id}",
    upcasts=(Upcast(version=1),),
)


class ShutdownAndPurgeRoom:
    """The step of `SHUTDOWN_AND_PURGE_ROOM`. An unknown room is no error: there is nothing left of it."""

    def __init__(self, appender: EventAppender, clock: Clock, server_name: str) -> None:
        self._appender = appender
        self._clock = clock
        self._server_name = server_name

    def step(self, txn: Transaction, task: ShutdownTask) -> Outcome:
        cursor = task.cursor
        if cursor is None:
            return self._begin(txn, task)
        reopened = _closes(task) and close_room(txn, cursor.room_nid, self._clock.now_ms())
        if reopened:  # the task is tried again, and others may have come in meanwhile
            phase = Phase.MEMBERS if cursor.phase is Phase.ALIASES else cursor.phase
            cursor = _with(cursor, phase=phase, after_user="")
        phases = {
            Phase.COUNT: self._count,
            Phase.CREATE_ROOM: self._create_room,
            Phase.INVITES: self._withdraw,
            Phase.MEMBERS: self._lead_out,
            Phase.ALIASES: self._move_aliases,
            Phase.PURGE: self._delete,
        }
        return phases[cursor.phase](txn, task, cursor)

    def on_cancel(self, txn: Transaction, task: ShutdownTask) -> None:
        """A room of which nothing is deleted goes on, with those who are still in it."""
        cursor = task.cursor
        if cursor is not None and cursor.was_whole and cursor.phase is not Phase.PURGE and _closes(task):
            reopen_room(txn, cursor.room_nid)

    # The phases

    def _begin(self, txn: Transaction, task: ShutdownTask) -> Outcome:
        params = task.params
        if params.block and not params.dry_run:
            block_room(txn, params.room_id, task.requester)
        room = rooms.room_by_id(txn, params.room_id)
        if room is None:
            return Done({"dry_run": params.dry_run, "rows": {}})
        cursor = ShutdownCursor(phase=Phase.COUNT, room_nid=room.nid, was_whole=purge.is_whole(txn, room.nid))
        if _closes(task):
            close_room(txn, room.nid, self._clock.now_ms())
        return _next(cursor)

    def _count(self, txn: Transaction, task: ShutdownTask, cursor: ShutdownCursor) -> Outcome:
        """So that progress has a total: rows to delete, and members to evict."""
        if task.params.purge:
            cursor = _with(cursor, counted=count_rows(txn, cursor.counted, cursor.room_nid, task.batch))
            if not cursor.counted.has_ended:
                return _next(cursor, total=cursor.counted.total)
        members = purge.count_present(txn, cursor.room_nid, self._server_name)
        if task.params.dry_run:
            return Done({"dry_run": True, "members": members, "rows": cursor.counted.rows})
        phase = Phase.CREATE_ROOM if task.params.new_room else Phase.INVITES
        return _next(_with(cursor, phase=phase), total=members + cursor.counted.total)

    def _create_room(self, txn: Transaction, task: ShutdownTask, cursor: ShutdownCursor) -> Outcome:
        plan = _replacement(task)
        new = NewRoom(
            plan.creator, ROOM_VERSIONS[plan.version], plan.create, self._clock.now_ms(), plan.state
        )
        room = create_room(txn, self._appender, self._clock, new)
        record_items(txn, task.id, [TaskItem(room.room_id, NEW_ROOM)])
        return _next(_with(cursor, phase=Phase.INVITES, new_room_nid=room.nid, new_room_id=room.room_id))

    def _withdraw(self, txn: Transaction, task: ShutdownTask, cursor: ShutdownCursor) -> Outcome:
        """Invites into a room that is gone could be neither accepted nor refused at other servers."""
        limit = min(task.batch, MAX_LEAVES)
        invites = (
            invites_elsewhere(txn, cursor.room_nid, self._server_name, cursor.after_user, limit)
            if cursor.was_whole and task.params.purge
            else []
        )
        now_ms, leave = self._clock.now_ms(), {"membership": "leave"}
        writes = [
            Write(cursor.room_nid, Draft(MEMBER, inviter, leave, now_ms, user_id))
            for user_id, inviter in invites
        ]
        results = self._appender.append(txn, writes, even_closed=True)
        failures = {
            user_id: str(result)
            for (user_id, _), result in zip(invites, results, strict=True)
            if isinstance(result, MatrixError)
        }
        record_items(
            txn,
            task.id,
            [
                TaskItem(
                    user_id, FAILED_TO_WITHDRAW if user_id in failures else WITHDRAWN, failures.get(user_id)
                )
                for user_id, _ in invites
            ],
        )
        ended = len(invites) < limit
        return _next(
            _with(
                cursor,
                phase=Phase.MEMBERS if ended else Phase.INVITES,
                after_user="" if ended else invites[-1][0],
                withdrawn=cursor.withdrawn + len(invites) - len(failures),
            )
        )

    def _lead_out(self, txn: Transaction, task: ShutdownTask, cursor: ShutdownCursor) -> Outcome:
        limit = min(task.batch, MAX_LEAVES)
        members = purge.present_members(txn, cursor.room_nid, self._server_name, cursor.after_user, limit)
        # Where no event can be added any more, they are told when their membership is deleted.
        leaving = members if cursor.was_whole else []
        failures: dict[str, str] = {}
        forgotten = 0
        for start in range(0, len(leaving), LEAVES_AT_ONCE):
            some = leaving[start : start + LEAVES_AT_ONCE]
            failures |= self._leave(txn, cursor, some)
            forgotten += purge.forget_all(txn, cursor.room_nid, [user_id for user_id, _ in some])
            rest()
        record_items(
            txn,
            task.id,
            [
                TaskItem(user_id, FAILED_TO_KICK if user_id in failures else KICKED, failures.get(user_id))
                for user_id, _ in members
            ],
        )
        ended = len(members) < limit
        after = _with(
            cursor,
            phase=Phase.ALIASES if ended else Phase.MEMBERS,
            after_user=members[-1][0] if members else cursor.after_user,
            kicked=cursor.kicked + len(members) - len(failures),
            failed=cursor.failed + len(failures),
            forgotten=cursor.forgotten + forgotten,
        )
        return _next(after, done=len(members))

    def _move_aliases(self, txn: Transaction, task: ShutdownTask, cursor: ShutdownCursor) -> Outcome:
        if cursor.new_room_nid is not None:
            plan = _replacement(task)
            text = {"msgtype": "m.text", "body": plan.message}
            message = Draft(MESSAGE, plan.creator, text, self._clock.now_ms())
            append_all(txn, self._appender, [Write(cursor.new_room_nid, message)])
            moved = alias_store.move_aliases(txn, cursor.room_nid, cursor.new_room_nid)
            record_items(txn, task.id, [TaskItem(alias, MOVED_ALIAS) for alias in moved])
            cursor = _with(cursor, aliases=len(moved))
        if not task.params.purge:
            return Done(_result(cursor))
        if self._is_inhabited(txn, cursor) and not task.params.force_purge:
            reopen_room(txn, cursor.room_nid)
            return Fail(STILL_JOINED)
        return _next(_with(cursor, phase=Phase.PURGE), total=_total(cursor))

    def _delete(self, txn: Transaction, task: ShutdownTask, cursor: ShutdownCursor) -> Outcome:
        if cursor.deleted.total == 0 and cursor.waited < MAX_WAITS and self._has_to_tell(txn, cursor):
            return Later(_with(cursor, waited=cursor.waited + 1), WAIT_SECONDS)
        if cursor.deleted.total == 0:
            servers = untold(txn, cursor.room_nid, MAX_UNTOLD)
            record_items(txn, task.id, [TaskItem(server, UNTOLD) for server in servers])
            cursor = _with(cursor, untold=len(servers))
        walk = delete_rows(txn, cursor.deleted, cursor.room_nid, task.batch, self._server_name)
        done = walk.total - cursor.deleted.total
        if walk.has_ended:
            if purge.delete_room(txn, cursor.room_nid):
                return Done(_result(_with(cursor, deleted=walk)), done=done)
            walk = walk.again()
        return _next(_with(cursor, deleted=walk), done=done)

    # Pieces

    def _leave(
        self, txn: Transaction, cursor: ShutdownCursor, members: list[tuple[str, str]]
    ) -> dict[str, str]:
        """Each leaves in their own name; who was joined joins the new room. Why that failed, by user."""
        leaves = [
            Write(cursor.room_nid, leave_draft(user_id, self._clock.now_ms())) for user_id, _ in members
        ]
        joined = [user_id for user_id, membership in members if membership == "join"]
        joins = (
            [Write(cursor.new_room_nid, join_draft(txn, user_id, self._clock.now_ms())) for user_id in joined]
            if cursor.new_room_nid is not None
            else []
        )
        results = self._appender.append(txn, [*leaves, *joins], even_closed=True)
        failures: dict[str, str] = {}
        for write, result in zip([*leaves, *joins], results, strict=True):
            if isinstance(result, MatrixError):
                failures.setdefault(write.draft.sender, str(result))
        return failures

    def _has_to_tell(self, txn: Transaction, cursor: ShutdownCursor) -> bool:
        """Whether other servers have yet to hear who left, or is no longer invited: with the room that would be lost."""
        others = {*all_servers(txn, cursor.room_nid)} - {self._server_name}
        return bool(others or cursor.withdrawn) and is_waiting(txn, cursor.room_nid)

    def _is_inhabited(self, txn: Transaction, cursor: ShutdownCursor) -> bool:
        return cursor.was_whole and purge.is_joined_by_any(txn, cursor.room_nid, self._server_name)


def _closes(task: ShutdownTask) -> bool:
    return task.params.purge and not task.params.dry_run


def _total(cursor: ShutdownCursor) -> int:
    """Of what there is to do in all, once the members are out: their leaves have added rows, and moved aliases none."""
    leaves = cursor.kicked + cursor.withdrawn
    added = leaves * ROWS_OF_A_LEAVE + cursor.forgotten if cursor.was_whole else 0
    return cursor.kicked + cursor.failed + cursor.counted.total + added - cursor.aliases


def _replacement(task: ShutdownTask) -> Replacement:
    if task.params.new_room is None:
        raise ValueError("no new room was asked for")
    return task.params.new_room


def _with(cursor: ShutdownCursor, **changes: object) -> ShutdownCursor:
    return cursor.model_copy(update=changes)


def _next(cursor: ShutdownCursor, *, done: int = 0, total: int | None = None) -> Next:
    return Next(cursor, done=done, phase=cursor.phase, total=total)


def _result(cursor: ShutdownCursor) -> JsonObject:
    return {
        "new_room_id": cursor.new_room_id,
        "kicked": cursor.kicked,
        "failed_to_kick": cursor.failed,
        "withdrawn_invites": cursor.withdrawn,
        "untold_servers": cursor.untold,
        "moved_aliases": cursor.aliases,
        "rows": cursor.deleted.rows,
    }
