"""What an account leaves behind when it is closed: rooms that it is in, devices, data of its own."""

from enum import StrEnum

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.members import leave_draft
from synapse_lite.rooms.values import Write
from synapse_lite.storage import deactivation
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import TaskItem, record_items
from synapse_lite.tasks.actions.delete_device_messages import delete_devices
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Fail, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

MAX_LEAVES = 10  # in one step: each is an event, and holds the stream for a moment

# Outcomes of items: rooms.
LEFT = "left"
FAILED_TO_LEAVE = "failed_to_leave"


class Phase(StrEnum):
    DEVICES = "devices"
    ROOMS = "rooms"
    DATA = "data"


class DeactivateParams(TaskModel):
    """`erase`: the profile goes too. The account itself is closed before the task begins."""

    user_id: str
    erase: bool = False


class DeactivateCursor(TaskModel):
    """`after_room`: rooms up to this nid are left."""

    phase: Phase = Phase.DEVICES
    after_room: int = 0
    devices: int = 0
    left: int = 0
    failed: int = 0
    rows: int = 0


DeactivateTask = TaskView[DeactivateParams, DeactivateCursor]

DEACTIVATE_USER = TaskSpec(
    action="deactivate_user",
    version=1,
    params=DeactivateParams,
    cursor=DeactivateCursor,
    resource=lambda params: params.user_id,
    lock=lambda params: f"user:{params.user_id}",
    needs_admin=False,  # who closes their own account is no longer anybody
)


class DeactivateUser:
    """The step of `DEACTIVATE_USER`. A room that cannot be left is named, and the others are left."""

    def __init__(self, appender: EventAppender, clock: Clock) -> None:
        self._appender = appender
        self._clock = clock

    def step(self, txn: Transaction, task: DeactivateTask) -> Outcome:
        cursor = task.cursor or DeactivateCursor()
        if not deactivation.is_deactivated(txn, task.params.user_id):
            return Fail("The account was opened again")
        match cursor.phase:
            case Phase.DEVICES:
                return self._devices(txn, task, cursor)
            case Phase.ROOMS:
                return self._rooms(txn, task, cursor)
            case Phase.DATA:
                return self._data(txn, task, cursor)

    def _devices(self, txn: Transaction, task: DeactivateTask, cursor: DeactivateCursor) -> Outcome:
        devices = deactivation.devices_of(txn, task.params.user_id, task.batch)
        delete_devices(txn, task.params.user_id, devices)
        phase = Phase.DEVICES if len(devices) == task.batch else Phase.ROOMS
        return _next(cursor, phase, done=len(devices), devices=cursor.devices + len(devices))

    def _rooms(self, txn: Transaction, task: DeactivateTask, cursor: DeactivateCursor) -> Outcome:
        user_id, limit = task.params.user_id, min(task.batch, MAX_LEAVES)
        rooms = deactivation.open_rooms(txn, user_id, cursor.after_room, limit)
        leaves = [Write(room.room_nid, leave_draft(user_id, self._clock.now_ms())) for room in rooms]
        results = self._appender.append(txn, leaves) if leaves else []
        failures = {
            room.room_id: str(result)
            for room, result in zip(rooms, results, strict=True)
            if isinstance(result, MatrixError)
        }
        record_items(
            txn,
            task.id,
            [
                TaskItem(
                    room.room_id,
                    FAILED_TO_LEAVE if room.room_id in failures else LEFT,
                    failures.get(room.room_id),
                )
                for room in rooms
            ],
        )
        return _next(
            cursor,
            Phase.ROOMS if len(rooms) == limit else Phase.DATA,
            done=len(rooms),
            after_room=rooms[-1].room_nid if rooms else cursor.after_room,
            left=cursor.left + len(rooms) - len(failures),
            failed=cursor.failed + len(failures),
        )

    def _data(self, txn: Transaction, task: DeactivateTask, cursor: DeactivateCursor) -> Outcome:
        rows = deactivation.delete_owned(txn, task.params.user_id, task.batch)
        if rows:
            return _next(cursor, Phase.DATA, done=rows, rows=cursor.rows + rows)
        if _came_back(txn, task.params.user_id, cursor):
            return _next(cursor, Phase.DEVICES, done=0, after_room=0, failed=0)
        if task.params.erase:
            deactivation.clear_profile(txn, task.params.user_id)
        return Done(_result(cursor))


def _came_back(txn: Transaction, user_id: str, cursor: DeactivateCursor) -> bool:
    """Whether who was let in before the account was closed has entered a room, or opened a session, since."""
    if deactivation.devices_of(txn, user_id, 1):
        return True
    return deactivation.count_open_rooms(txn, user_id) > cursor.failed


def _next(cursor: DeactivateCursor, phase: Phase, *, done: int, **changes: int) -> Next:
    return Next(cursor.model_copy(update={"phase": phase, **changes}), done=done, phase=phase)


def _result(cursor: DeactivateCursor) -> JsonObject:
    return {
        "devices": cursor.devices,
        "left_rooms": cursor.left,
        "failed_to_leave": cursor.failed,
        "deleted_rows": cursor.rows,
    }
