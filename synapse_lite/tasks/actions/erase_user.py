"""Erase a user: what they have written, uploaded and kept here, and the account.

The account is closed with the first step, so that nobody adds to what is being erased. Then parts, one after the other:
redact all events, delete the media, leave the rooms and delete what the account owns. At last the rooms are forgotten.
A request that was let in before the account was closed may end after all was looked through: then events and media
are looked through once more.
A part that fails does not keep the next from its work: the whole fails at the end, and the result says what has become of each.
"""

from enum import StrEnum
from typing import Any

from pydantic import Field

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage import deactivation
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import read_position
from synapse_lite.tasks.actions.deactivate_user import DEACTIVATE_USER, DeactivateParams
from synapse_lite.tasks.actions.delete_device_messages import delete_devices
from synapse_lite.tasks.actions.delete_media import DELETE_MEDIA, DeleteMediaParams
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS, RedactParams
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Fail, Later, Next, Outcome
from synapse_lite.tasks.queue import new_task
from synapse_lite.tasks.specs import TaskSpec, TaskView

LOOK_SECONDS = 1.0
"""A part that ends wakes its parent, unless that is counting at this moment."""
_UNDONE = frozenset({store.Status.FAILED, store.Status.CANCELLED})


class Stage(StrEnum):
    """What is done, in this order; all but the last are tasks of their own."""

    REDACT = "redact"
    MEDIA = "media"
    ACCOUNT = "account"
    FORGET = "forget"


class EraseParams(TaskModel):
    """`dry_run`: only count. `reason` is put into each redaction."""

    user_id: str
    reason: str | None = None
    dry_run: bool = False


class EraseCursor(TaskModel):
    """`part` is the task of the stage, None before it began; `parts` are those that ended, by stage.

    `closed_at`: the position of the stream when the account was closed. `again`: for what came late.
    """

    stage: Stage = Stage.REDACT
    part: str | None = None
    parts: dict[str, str] = Field(default_factory=dict)
    forgotten: int = 0
    closed_at: int = 0
    again: bool = False


EraseTask = TaskView[EraseParams, EraseCursor]

ERASE_USER = TaskSpec(
    action="erase_user",
    version=1,
    params=EraseParams,
    cursor=EraseCursor,
    resource=lambda params: params.user_id,
    unique=lambda params: None if params.dry_run else params.user_id,
)


class EraseUser:
    """The step of `ERASE_USER`."""

    def step(self, txn: Transaction, task: EraseTask) -> Outcome:
        cursor = task.cursor
        if cursor is None:
            return _begin(txn, task.params)
        if not task.params.dry_run and not deactivation.is_deactivated(txn, task.params.user_id):
            return Fail("The account was opened again")
        if cursor.stage is Stage.FORGET:
            return _forget(txn, task, cursor)
        if cursor.part is None:
            return _start(txn, task, cursor)
        part = store.read_task(txn, cursor.part)
        if part is not None and part.status in (store.Status.SCHEDULED, store.Status.ACTIVE):
            return Later(cursor, LOOK_SECONDS)
        return _next(txn, task.params, cursor)

    def on_cancel(self, txn: Transaction, task: EraseTask) -> None:
        """A part that was started while somebody cancelled the task is cancelled with it. The account stays closed."""
        store.cancel_parts(txn, task.id)


def _begin(txn: Transaction, params: EraseParams) -> Outcome:
    if not params.dry_run:
        if not deactivation.close_account(txn, params.user_id, erase=True):
            return Fail("No such user")
        # Sessions end now; a great number of devices goes with the account's part.
        delete_devices(txn, params.user_id, deactivation.devices_of(txn, params.user_id, limit=100))
    cursor = EraseCursor(closed_at=read_position(txn))
    return Next(cursor, phase=Stage.REDACT, total=2 if params.dry_run else len(Stage))


def _start(txn: Transaction, task: EraseTask, cursor: EraseCursor) -> Outcome:
    spec, params = _part(task.params, cursor.stage)
    part = new_task(spec, params, requester=task.requester, endpoint=f"task {task.id}", parent_id=task.id)
    part_id = store.enqueue(txn, part)  # another one's, when it was pending already: that is waited for
    return Later(cursor.model_copy(update={"part": part_id}), LOOK_SECONDS)


def _part(params: EraseParams, stage: Stage) -> tuple[TaskSpec[Any, Any], TaskModel]:
    match stage:
        case Stage.REDACT:
            return REDACT_ALL_EVENTS, RedactParams(
                user_id=params.user_id, reason=params.reason, dry_run=params.dry_run
            )
        case Stage.MEDIA:
            return DELETE_MEDIA, DeleteMediaParams(
                user_id=params.user_id, spares=False, dry_run=params.dry_run
            )
        case _:
            return DEACTIVATE_USER, DeactivateParams(user_id=params.user_id, erase=True)


def _next(txn: Transaction, params: EraseParams, cursor: EraseCursor) -> Outcome:
    name = f"{cursor.stage}_again" if cursor.again else cursor.stage.value
    cursor = cursor.model_copy(update={"part": None, "parts": {**cursor.parts, name: cursor.part or ""}})
    stage, again = _stage_after(txn, params, cursor)
    update = {"stage": stage, "again": again}
    return Next(cursor.model_copy(update=update), done=0 if cursor.again else 1, phase=stage)


def _stage_after(txn: Transaction, params: EraseParams, cursor: EraseCursor) -> tuple[Stage, bool]:
    """And whether it is one for what came late."""
    match cursor.stage:
        case Stage.REDACT:
            return Stage.MEDIA, cursor.again
        case Stage.MEDIA if not (params.dry_run or cursor.again):
            return Stage.ACCOUNT, False
        case Stage.ACCOUNT if deactivation.came_late(txn, params.user_id, cursor.closed_at):
            return Stage.REDACT, True
        case _:
            return Stage.FORGET, False


def _forget(txn: Transaction, task: EraseTask, cursor: EraseCursor) -> Outcome:
    if store.pending_children(txn, [task.id]):  # the whole is tried again, and so are parts that failed
        return Later(cursor, LOOK_SECONDS)
    if not task.params.dry_run:
        forgotten = deactivation.forget_left_rooms(txn, task.params.user_id, task.batch)
        cursor = cursor.model_copy(update={"forgotten": cursor.forgotten + forgotten})
        if forgotten == task.batch:
            return Next(cursor, phase=Stage.FORGET)
    result: JsonObject = {stage: _report(txn, part_id) for stage, part_id in cursor.parts.items()}
    if not task.params.dry_run:
        result["forgotten_rooms"] = cursor.forgotten
    done = 0 if task.params.dry_run else len(Stage) - task.done
    if undone := _undone(result):
        return Fail(f"not all is erased, see the result: {', '.join(undone)}", result, done)
    return Done(result, done)


def _undone(result: JsonObject) -> list[Stage]:
    """Whose last part has not come to its end."""
    last = [(stage, result.get(f"{stage}_again") or result.get(stage)) for stage in Stage]
    return [stage for stage, report in last if report and report["status"] in _UNDONE]


def _report(txn: Transaction, task_id: str) -> JsonObject:
    part = store.read_task(txn, task_id)
    if part is None:
        return {"task_id": task_id, "status": None, "result": None, "error": None}
    return {"task_id": task_id, "status": part.status.value, "result": part.result, "error": part.error}
