"""The end of a device, and of an inbox that is too large to go with it."""

from collections.abc import Collection

from synapse_lite.ids import domain_of
from synapse_lite.storage import devices, to_device
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import read_position
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.queue import new_task
from synapse_lite.tasks.specs import TaskSpec, TaskView

ENDPOINT = "the end of a device"


class DeleteMessagesParams(TaskModel):
    """`up_to_stream_id`: a later device of the same id keeps its messages."""

    user_id: str
    device_id: str
    up_to_stream_id: int


class DeleteMessagesCursor(TaskModel):
    deleted: int = 0


DELETE_DEVICE_MESSAGES = TaskSpec(
    action="delete_device_messages",
    version=1,
    params=DeleteMessagesParams,
    cursor=DeleteMessagesCursor,
    resource=lambda params: params.device_id,
    needs_admin=False,
    lock=lambda params: f"device_inbox:{params.user_id} {params.device_id}",
)


class DeleteDeviceMessages:
    """The step of `DELETE_DEVICE_MESSAGES`: `batch` messages of the inbox, oldest first."""

    def step(self, txn: Transaction, task: TaskView[DeleteMessagesParams, DeleteMessagesCursor]) -> Outcome:
        before = 0 if task.cursor is None else task.cursor.deleted
        params = task.params
        rows = to_device.delete_messages(
            txn, params.user_id, params.device_id, params.up_to_stream_id, limit=task.batch
        )
        if rows < task.batch:
            return Done({"deleted": before + rows}, done=rows)
        return Next(DeleteMessagesCursor(deleted=before + rows), done=rows)


def delete_devices(txn: Transaction, user_id: str, device_ids: Collection[str]) -> None:
    """Delete the devices with all that is theirs; the rest of a large inbox becomes a task."""
    for device_id in devices.delete_devices(txn, user_id, device_ids):
        params = DeleteMessagesParams(
            user_id=user_id, device_id=device_id, up_to_stream_id=read_position(txn)
        )
        task = new_task(DELETE_DEVICE_MESSAGES, params, requester=domain_of(user_id), endpoint=ENDPOINT)
        store.enqueue(txn, task)
