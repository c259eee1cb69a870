"""Expired messages are purged: periodic jobs, each for the rooms of a range of lifetimes."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.matrix.retention import LifetimeRange, RetentionPolicy
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.retention import Aging, aging_rooms
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistoryParams
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.queue import new_task
from synapse_lite.tasks.specs import PERIODIC, PeriodicTask, TaskSpec, TaskView


class ExpiryParams(TaskModel):
    """A range of lifetimes, as `LifetimeRange`."""

    shortest_ms: int | None = None
    longest_ms: int | None = None

    @property
    def range(self) -> LifetimeRange:
        return LifetimeRange(self.shortest_ms, self.longest_ms)

    @property
    def name(self) -> str:
        return f"{self.shortest_ms or 0}-{'' if self.longest_ms is None else self.longest_ms} ms"


class ExpiryCursor(TaskModel):
    """`after_nid`: rooms up to here are done; `purges` were enqueued."""

    after_nid: int = 0
    rooms: int = 0
    purges: int = 0


ExpiryTask = TaskView[ExpiryParams, ExpiryCursor]

PURGE_EXPIRED_MESSAGES = TaskSpec(
    action="purge_expired_messages",
    version=1,
    params=ExpiryParams,
    cursor=ExpiryCursor,
    lock=lambda params: f"periodic:purge_expired_messages:{params.name}",
    needs_admin=False,
)


@frozen
class RetentionJob:
    """One of the configured jobs."""

    lifetimes: LifetimeRange
    every_ms: int


@frozen
class PurgeExpiredMessages:
    """The step of `PURGE_EXPIRED_MESSAGES`: a purge of the history for each room that has something to purge.

    Where the policy is None, nothing is ever purged.
    """

    clock: Clock
    policy: RetentionPolicy | None
    jobs: Sequence[RetentionJob] = ()

    def periodic_tasks(self) -> list[PeriodicTask[ExpiryParams]]:
        params = [
            ExpiryParams(shortest_ms=job.lifetimes.shortest_ms, longest_ms=job.lifetimes.longest_ms)
            for job in self.jobs
        ]
        return [PeriodicTask(one.name, one, job.every_ms) for one, job in zip(params, self.jobs, strict=True)]

    def step(self, txn: Transaction, task: ExpiryTask) -> Outcome:
        cursor = task.cursor or ExpiryCursor()
        if self.policy is None:
            return Done(_result(cursor))
        rooms = aging_rooms(txn, cursor.after_nid, task.batch)
        purges = [
            PurgeHistoryParams(room_id=room.room_id, received_until=until, delete_local_events=True)
            for room in rooms
            if (until := self._expired_until(self.policy, task.params.range, room)) is not None
        ]
        for params in purges:
            store.enqueue(txn, new_task(PURGE_HISTORY, params, requester=PERIODIC, endpoint=PERIODIC))
        after = ExpiryCursor(
            after_nid=rooms[-1].room_nid if rooms else cursor.after_nid,
            rooms=cursor.rooms + len(rooms),
            purges=cursor.purges + len(purges),
        )
        if len(rooms) < task.batch:
            return Done(_result(after), done=len(rooms))
        return Next(after, done=len(rooms))

    def _expired_until(self, policy: RetentionPolicy, lifetimes: LifetimeRange, room: Aging) -> int | None:
        """The time until which what the room received is to be purged; None where there is nothing."""
        lifetime = policy.lifetime(room.said)
        if lifetime is None or lifetime not in lifetimes or room.oldest_ts is None:
            return None
        until = self.clock.now_ms() - policy.kept(lifetime)
        return until if room.oldest_ts <= until else None


def _result(cursor: ExpiryCursor) -> dict[str, int]:
    return {"rooms": cursor.rooms, "purges": cursor.purges}
