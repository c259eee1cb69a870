"""Delete a room in which nobody of this server is left."""

from synapse_lite.clock import Clock
from synapse_lite.storage import purge, rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.room_admin import is_forgotten
from synapse_lite.storage.room_closure import close_room, reopen_room
from synapse_lite.tasks.actions.room_rows import Walk, count_rows, delete_rows
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Fail, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

STILL_JOINED = "Users are still joined to this room"


class PurgeRoomParams(TaskModel):
    """`force`: although users of this server are joined. `only_if_forgotten`: else there is nothing to do."""

    room_id: str
    force: bool = False
    only_if_forgotten: bool = False


class PurgeRoomCursor(TaskModel):
    """`counted` comes first, so that progress has a total; then `deleted`."""

    room_nid: int
    was_whole: bool
    counted: Walk = Walk()
    deleted: Walk | None = None


PURGE_ROOM = TaskSpec(
    action="purge_room",
    version=1,
    params=PurgeRoomParams,
    cursor=PurgeRoomCursor,
    resource=lambda params: params.room_id,
    unique=lambda params: params.room_id,
    lock=lambda params: f"room:{params.room_id}",
)


class PurgeRoom:
    """The step of `PURGE_ROOM`: any remainder of a room will do, and a room that is gone is no error."""

    def __init__(self, clock: Clock, server_name: str) -> None:
        self._clock = clock
        self._server_name = server_name

    def step(self, txn: Transaction, task: TaskView[PurgeRoomParams, PurgeRoomCursor]) -> Outcome:
        if task.cursor is None:
            return self._begin(txn, task.params)
        close_room(txn, task.cursor.room_nid, self._clock.now_ms())
        if task.cursor.deleted is None:
            return self._count(txn, task.params, task.cursor, task.batch)
        return self._delete(txn, task.cursor, task.cursor.deleted, task.batch)

    def on_cancel(self, txn: Transaction, task: TaskView[PurgeRoomParams, PurgeRoomCursor]) -> None:
        """A room of which nothing is deleted goes on as before."""
        cursor = task.cursor
        if cursor is not None and cursor.deleted is None and cursor.was_whole:
            reopen_room(txn, cursor.room_nid)

    def _begin(self, txn: Transaction, params: PurgeRoomParams) -> Outcome:
        room = rooms.room_by_id(txn, params.room_id)
        if room is None:
            return Done({"rows": {}})
        if params.only_if_forgotten and not is_forgotten(txn, room.nid, self._server_name):
            return Done({"rows": {}})
        close_room(txn, room.nid, self._clock.now_ms())
        was_whole = purge.is_whole(txn, room.nid)
        return Next(PurgeRoomCursor(room_nid=room.nid, was_whole=was_whole), phase="count")

    def _count(
        self, txn: Transaction, params: PurgeRoomParams, cursor: PurgeRoomCursor, budget: int
    ) -> Outcome:
        inhabited = cursor.was_whole and purge.is_joined_by_any(txn, cursor.room_nid, self._server_name)
        if inhabited and not params.force:
            reopen_room(txn, cursor.room_nid)
            return Fail(STILL_JOINED)
        counted = count_rows(txn, cursor.counted, cursor.room_nid, budget)
        after = cursor.model_copy(update={"counted": counted})
        if not counted.has_ended:
            return Next(after, total=counted.total)
        return Next(after.model_copy(update={"deleted": Walk()}), phase="purge", total=counted.total)

    def _delete(self, txn: Transaction, cursor: PurgeRoomCursor, deleted: Walk, budget: int) -> Outcome:
        walk = delete_rows(txn, deleted, cursor.room_nid, budget, self._server_name)
        done = walk.total - deleted.total
        if walk.has_ended:
            if purge.delete_room(txn, cursor.room_nid):
                return Done({"rows": walk.rows}, done=done)
            walk = walk.again()
        return Next(cursor.model_copy(update={"deleted": walk}), done=done)
