"""Delete media in bulk: unused ones, large ones, copies of other servers', all of a user."""

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.ids import domain_of
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import files
from synapse_lite.storage.media.mentions import of_sender
from synapse_lite.storage.media.selection import Candidate, Selection, candidates, named
from synapse_lite.storage.tasks import TaskItem
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

DELETED = "deleted"
"""The outcome of an item; with `dry_run` it would be."""


class DeleteMediaParams(TaskModel):
    """As `Selection`. `remote`: the copies of other servers' media instead of our own.

    Of a user of another server: the copies of media from there that the user's events name.
    """

    remote: bool = False
    user_id: str | None = None
    unused_since_ms: int | None = None
    larger_than: int = 0
    keep_avatars: bool = False
    spares: bool = True
    dry_run: bool = False


class DeleteMediaCursor(TaskModel):
    """`after_nid`: media up to here are done. `size` is in bytes."""

    after_nid: int = 0
    deleted: int = 0
    size: int = 0


DELETE_MEDIA = TaskSpec(
    action="delete_media",
    version=1,
    params=DeleteMediaParams,
    cursor=DeleteMediaCursor,
    resource=lambda params: params.user_id,
    unique=lambda params: params.model_dump_json(),
)


@frozen
class DeleteMedia:
    """The step of `DELETE_MEDIA`. The bytes follow the rows when the cleanup comes by."""

    clock: Clock
    server_name: str

    def step(self, txn: Transaction, task: TaskView[DeleteMediaParams, DeleteMediaCursor]) -> Outcome:
        cursor = task.cursor or DeleteMediaCursor()
        found, last = self._find(txn, task.params, cursor.after_nid, task.batch)
        chosen = [one for one in found if one.chosen]
        delete_chosen(txn, task.id, chosen, self.clock.now_ms(), dry_run=task.params.dry_run)
        after = DeleteMediaCursor(
            after_nid=last or cursor.after_nid,
            deleted=cursor.deleted + len(chosen),
            size=cursor.size + sum(one.size for one in chosen),
        )
        if last is None:
            return Done(_result(after, task.params), done=len(chosen))
        return Next(after, done=len(chosen))

    def _find(
        self, txn: Transaction, params: DeleteMediaParams, after: int, limit: int
    ) -> tuple[list[Candidate], int | None]:
        """And where to go on: a media number, for a user of another server an event number."""
        user_id = params.user_id
        if user_id is not None and domain_of(user_id) != self.server_name:
            mentions = of_sender(txn, user_id, after, limit)
            theirs = [one for one in mentions.media if one[0] == domain_of(user_id)]
            return named(txn, theirs, spares=params.spares), mentions.last
        found = candidates(txn, self._selection(params), after, limit)
        return found, found[-1].nid if len(found) == limit else None

    def _selection(self, params: DeleteMediaParams) -> Selection:
        return Selection(
            origin=self.server_name,
            is_origin=not params.remote,
            user_id=params.user_id,
            unused_since_ms=params.unused_since_ms,
            larger_than=params.larger_than,
            keep_avatars=params.keep_avatars,
            spares=params.spares,
        )


def delete_chosen(
    txn: Transaction, task_id: str, chosen: list[Candidate], now_ms: int, *, dry_run: bool = False
) -> None:
    """The items of the task are the mxc URIs."""
    if chosen:
        store.record_items(txn, task_id, [TaskItem(one.mxc, DELETED) for one in chosen])
        if not dry_run:
            files.delete(txn, [one.nid for one in chosen], now_ms)


def _result(cursor: DeleteMediaCursor, params: DeleteMediaParams) -> dict[str, int]:
    name = "would_delete" if params.dry_run else "deleted"
    return {name: cursor.deleted, "bytes": cursor.size}
