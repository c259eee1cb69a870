"""Guests leave a room that lets no guests in any more (client-server API, "Guest Access")."""

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.matrix.guest_access import lets_guests_in
from synapse_lite.matrix.types import GUEST_ACCESS
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.members import leave_draft
from synapse_lite.rooms.values import Write
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.guests import guests_in_room
from synapse_lite.storage.rooms import Room, room_by_id
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.tasks import TaskItem, record_items
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.queue import new_task
from synapse_lite.tasks.specs import TaskSpec, TaskView

MEMBERS = 20  # looked at in one step: each guest among them is an event, and holds the room
ENDPOINT = "m.room.guest_access"
LEFT, FAILED_TO_LEAVE = "left", "failed_to_leave"


class RemoveGuestsParams(TaskModel):
    """`cause`: the event with which the room closed its door."""

    room_id: str
    cause: str


class RemoveGuestsCursor(TaskModel):
    """`after`: members up to this one were looked at."""

    after: str = ""
    left: int = 0
    failed: int = 0


REMOVE_GUESTS = TaskSpec(
    action="remove_guests",
    version=1,
    params=RemoveGuestsParams,
    cursor=RemoveGuestsCursor,
    resource=lambda params: params.room_id,
    unique=lambda params: params.cause,
    needs_admin=False,
)
"""Asked for by the room: whoever changed its state had the power to."""


def put_out(txn: Transaction, cause: StoredEvent) -> None:
    """In the transaction of the event."""
    params = RemoveGuestsParams(room_id=cause.event.room_id, cause=cause.event_id)
    store.enqueue(txn, new_task(REMOVE_GUESTS, params, requester=cause.event.sender, endpoint=ENDPOINT))


@frozen
class RemoveGuests:
    """The step of `REMOVE_GUESTS`: each leaves in their own name. It ends when the room lets guests in again."""

    appender: EventAppender
    events: EventStore
    state: StateStore
    clock: Clock
    server_name: str

    def step(self, txn: Transaction, task: TaskView[RemoveGuestsParams, RemoveGuestsCursor]) -> Outcome:
        cursor = task.cursor or RemoveGuestsCursor()
        room = room_by_id(txn, task.params.room_id)
        if room is None or self._is_open(txn, room):
            return Done(_result(cursor))
        guests, after = guests_in_room(
            txn, room.nid, self.server_name, cursor.after, min(task.batch, MEMBERS)
        )
        leaves = [Write(room.nid, leave_draft(user_id, self.clock.now_ms())) for user_id in guests]
        results = self.appender.append(txn, leaves) if leaves else []
        items = [
            TaskItem(user_id, FAILED_TO_LEAVE, str(result))
            if isinstance(result, MatrixError)
            else TaskItem(user_id, LEFT)
            for user_id, result in zip(guests, results, strict=True)
        ]
        record_items(txn, task.id, items)
        failed = sum(item.outcome == FAILED_TO_LEAVE for item in items)
        cursor = RemoveGuestsCursor(
            after=after or "", left=cursor.left + len(items) - failed, failed=cursor.failed + failed
        )
        return Done(_result(cursor), done=len(items)) if after is None else Next(cursor, done=len(items))

    def _is_open(self, txn: Transaction, room: Room) -> bool:
        place = (room.nid, (GUEST_ACCESS, ""))
        nid = self.state.current(txn, [place]).get(place)
        return nid is not None and lets_guests_in(self.events.load(txn, [nid])[nid].event)


def _result(cursor: RemoveGuestsCursor) -> dict[str, object]:
    return {"left": cursor.left, "failed_to_leave": cursor.failed}
