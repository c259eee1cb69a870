"""Make anew what a follower makes of the stream: it forgets what it has made, and begins at the start.

What Synapse calls a background update. The task goes on until the follower has come to where the stream ended.
"""

from collections.abc import Callable, Mapping

from attrs import frozen

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.statistics import clear_statistics
from synapse_lite.tasks.actions.statistics import STATISTICS
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Fail, Later, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

LOOK_SECONDS = 1.0


@frozen
class Job:
    """`follower` makes it, `clear` forgets it."""

    follower: str
    clear: Callable[[Transaction], None]


JOBS: Mapping[str, Job] = {"populate_stats_process_rooms": Job(STATISTICS.name, clear_statistics)}
"""By the names of Synapse's background updates."""


class RebuildParams(TaskModel):
    """`job_name` is one of `JOBS`."""

    job_name: str


class RebuildCursor(TaskModel):
    """Positions of the stream: where the follower was, and where it has to come."""

    position: int
    target: int


REBUILD = TaskSpec(
    action="rebuild",
    version=1,
    params=RebuildParams,
    cursor=RebuildCursor,
    resource=lambda params: params.job_name,
    unique=lambda params: params.job_name,
    lock=lambda params: f"rebuild:{params.job_name}",
)


class Rebuild:
    """The steps of `REBUILD`."""

    def step(self, txn: Transaction, task: TaskView[RebuildParams, RebuildCursor]) -> Outcome:
        job = JOBS.get(task.params.job_name)
        if job is None:
            return Fail(f"There is no job {task.params.job_name}")
        if task.cursor is None:
            target = store.reset_follower(txn, job.follower)
            job.clear(txn)
            return Next(RebuildCursor(position=0, target=target), phase="rebuild", total=target)
        position = min(store.follower_position(txn, job.follower), task.cursor.target)
        done = max(0, position - task.cursor.position)
        if position >= task.cursor.target:
            return Done({"positions": task.cursor.target}, done=done)
        return Later(RebuildCursor(position=position, target=task.cursor.target), LOOK_SECONDS, done=done)
