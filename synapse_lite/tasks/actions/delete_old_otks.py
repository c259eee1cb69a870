"""Delete one-time keys of devices that were not used for long: whoever claimed one could not be understood."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage import one_time_keys
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import END
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView, Upcast

MAX_BATCH = 200  # devices, with up to 200 keys each: whoever claims one waits for the step


class DeleteOldKeysParams(TaskModel):
    """Keys of devices not used since `before_ts` (ms). `dry_run`: only count."""

    before_ts: int
    dry_run: bool = False


class DeleteOldKeysCursor(TaskModel):
    """Uploads up to `after` are looked at; devices that upload after `upto` are in use. `keys` were old."""

    upto: int
    after: int = 0
    keys: int = 0


def _from_the_start(cursor: JsonObject) -> JsonObject:
    """Version 1 went by keys, whose numbers say nothing of uploads. What it deleted is not there to be counted again."""
    return {**cursor, "after": 0, "upto": END}


DeleteOldKeysTask = TaskView[DeleteOldKeysParams, DeleteOldKeysCursor]

DELETE_OLD_OTKS = TaskSpec(
    action="delete_old_otks",
    version=2,
    params=DeleteOldKeysParams,
    cursor=DeleteOldKeysCursor,
    lock=lambda params: None if params.dry_run else "delete_old_otks",
    upcasts=(Upcast(version=1, cursor=_from_the_start),),
)


class DeleteOldKeys:
    """The step of `DELETE_OLD_OTKS`: looks at the keys of the next devices, and deletes those that are old.

    Its progress is that of the looking, by stocks: also where most of them are empty, or in use.
    """

    def step(self, txn: Transaction, task: DeleteOldKeysTask) -> Outcome:
        params, cursor = task.params, task.cursor
        if cursor is None:
            total, upto = one_time_keys.count_stocks(txn)
            return Next(DeleteOldKeysCursor(upto=upto), total=total)
        seen = one_time_keys.old_stocks(
            txn, params.before_ts, after=cursor.after, upto=cursor.upto, limit=min(task.batch, MAX_BATCH)
        )
        if seen.last is None:  # who uploads meanwhile is in use, and is not looked at
            rest = max(0, (task.total or 0) - task.done)
            return Done({"dry_run": params.dry_run, "keys": cursor.keys}, done=rest)
        old = seen.old_keys if params.dry_run else one_time_keys.empty_stocks(txn, seen.old, cursor.upto)
        keys = cursor.keys + old
        return Next(cursor.model_copy(update={"after": seen.last, "keys": keys}), done=seen.looked_at)
