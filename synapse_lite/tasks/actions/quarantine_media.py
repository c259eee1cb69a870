"""Hide media in bulk, or show them again: those named in a room, those of a user, those of a whole server."""

from collections.abc import Sequence

from attrs import frozen
from pydantic import model_validator

from synapse_lite.clock import Clock
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media.mentions import Mentions, of_room
from synapse_lite.storage.media.quarantine import Reason, quarantine, unquarantine, would_quarantine
from synapse_lite.storage.media.selection import Selection, candidates
from synapse_lite.storage.media.told import Mxc
from synapse_lite.storage.tasks import TaskItem
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

CHANGED = "changed"
"""The outcome of an item: it was hidden, or shown again; with `dry_run` it would be."""


class QuarantineParams(TaskModel):
    """Exactly one of the first four. `undo_of`: the task whose changes are taken back, exactly those."""

    room_id: str | None = None
    user_id: str | None = None
    server_name: str | None = None
    undo_of: str | None = None
    dry_run: bool = False

    @model_validator(mode="after")
    def _is_one(self) -> "QuarantineParams":
        if (
            sum(value is not None for value in (self.room_id, self.user_id, self.server_name, self.undo_of))
            != 1
        ):
            raise ValueError("exactly one of room_id, user_id, server_name, undo_of")
        return self

    @property
    def resource(self) -> str | None:
        return self.room_id or self.user_id or self.server_name or self.undo_of


class QuarantineCursor(TaskModel):
    """`after`: an event or media number; `after_item`: an item of the task that is taken back."""

    after: int = 0
    after_item: str | None = None
    changed: int = 0


QUARANTINE_MEDIA = TaskSpec(
    action="quarantine_media",
    version=1,
    params=QuarantineParams,
    cursor=QuarantineCursor,
    resource=lambda params: params.resource,
    unique=lambda params: params.model_dump_json(),
)

QuarantineTask = TaskView[QuarantineParams, QuarantineCursor]


@frozen
class QuarantineMedia:
    """The step of `QUARANTINE_MEDIA`; `server_name` is ours."""

    clock: Clock
    server_name: str

    def step(self, txn: Transaction, task: QuarantineTask) -> Outcome:
        cursor = task.cursor or QuarantineCursor()
        if task.params.undo_of is not None:
            return self._undo(txn, task, cursor, task.params.undo_of)
        found = self._found(txn, task.params, cursor.after, task.batch)
        reason = Reason(task.requester, f"task {task.id}", self.clock.now_ms())
        media = list(dict.fromkeys(found.media))
        change = would_quarantine if task.params.dry_run else quarantine
        return self._went(txn, task, cursor, change(txn, media, reason), found.last, None)

    def _found(self, txn: Transaction, params: QuarantineParams, after: int, limit: int) -> Mentions:
        if params.room_id is not None:
            return of_room(txn, params.room_id, after, limit)
        selection = Selection(params.server_name or self.server_name, user_id=params.user_id, spares=False)
        found = candidates(txn, selection, after, limit)
        media = [(one.origin, one.media_id) for one in found if one.chosen]
        return Mentions(media, found[-1].nid if len(found) == limit else None)

    def _undo(self, txn: Transaction, task: QuarantineTask, cursor: QuarantineCursor, of: str) -> Outcome:
        items = store.read_items(txn, of, outcome=CHANGED, after=cursor.after_item, limit=task.batch)
        media = [_parts(item.item) for item in items]
        reason = Reason(task.requester, f"task {task.id}", self.clock.now_ms())
        changed = media if task.params.dry_run else unquarantine(txn, media, reason)
        last = items[-1].item if len(items) == task.batch else None
        return self._went(txn, task, cursor, changed, None, last)

    def _went(
        self,
        txn: Transaction,
        task: QuarantineTask,
        cursor: QuarantineCursor,
        changed: Sequence[Mxc],
        last: int | None,
        last_item: str | None,
    ) -> Outcome:
        items = [TaskItem(f"mxc://{origin}/{media_id}", CHANGED) for origin, media_id in changed]
        if items:
            store.record_items(txn, task.id, items)
        total = cursor.changed + len(items)
        if last is None and last_item is None:
            return Done({"num_quarantined": total}, done=len(items))
        return Next(QuarantineCursor(after=last or 0, after_item=last_item, changed=total), done=len(items))


def _parts(mxc: str) -> Mxc:
    origin, _, media_id = mxc.removeprefix("mxc://").partition("/")
    return origin, media_id
