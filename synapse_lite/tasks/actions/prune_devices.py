"""Delete devices that were not used for long: those of some users, or of all."""

from collections.abc import Sequence

from pydantic import Field

from synapse_lite.storage import devices
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.delete_device_messages import delete_devices
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

MAX_USERS = 1000
MAX_DEVICES = 100
"""In one step: each leaves with its keys, its tokens and its pushers."""


class PruneDevicesParams(TaskModel):
    """Devices not used since `before_ts` (ms) of `user_ids`: empty means everybody. `dry_run`: only count."""

    before_ts: int
    user_ids: tuple[str, ...] = Field(default=(), max_length=MAX_USERS)
    dry_run: bool = False


class PruneDevicesCursor(TaskModel):
    """How many are deleted."""

    devices: int = 0


PruneDevicesTask = TaskView[PruneDevicesParams, PruneDevicesCursor]

PRUNE_DEVICES = TaskSpec(
    action="prune_devices",
    version=1,
    params=PruneDevicesParams,
    cursor=PruneDevicesCursor,
    lock=lambda params: None if params.dry_run else "prune_devices",
)


class PruneDevices:
    """The step of `PRUNE_DEVICES`. A device that is used meanwhile stays."""

    def step(self, txn: Transaction, task: PruneDevicesTask) -> Outcome:
        params, cursor = task.params, task.cursor
        if cursor is None:
            total = devices.count_stale_devices(txn, params.before_ts, params.user_ids)
            if params.dry_run:
                return Done({"dry_run": True, "devices": total})
            return Next(PruneDevicesCursor(), total=total)
        deleted = delete_stale(txn, params.before_ts, task.batch, params.user_ids)
        total = cursor.devices + deleted
        if not deleted:
            return Done({"dry_run": False, "devices": total})
        return Next(PruneDevicesCursor(devices=total), done=deleted)


def delete_stale(txn: Transaction, before_ms: int, limit: int, user_ids: Sequence[str] = ()) -> int:
    """Delete devices not used since then, of all users where none are named; how many: 0 when there are no more."""
    by_user: dict[str, list[str]] = {}
    stale = devices.stale_devices(txn, before_ms, min(limit, MAX_DEVICES), user_ids)
    for user_id, device_id in sorted(stale):
        by_user.setdefault(user_id, []).append(device_id)
    for user_id, device_ids in by_user.items():
        delete_devices(txn, user_id, device_ids)
    return len(stale)
