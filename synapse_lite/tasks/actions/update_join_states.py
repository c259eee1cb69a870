"""A changed profile shows in all rooms of its user, however many, and whatever becomes of the process that began."""

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.members import profile_writes
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.rooms import joined_after
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView


class UpdateJoinStatesParams(TaskModel):
    user_id: str


class UpdateJoinStatesCursor(TaskModel):
    """`room_nid`: the last room that shows it. `refused`: rooms whose rules did not let it in."""

    room_nid: int
    shown: int = 0
    refused: int = 0


UPDATE_JOIN_STATES = TaskSpec(
    action="update_join_states",
    version=1,
    params=UpdateJoinStatesParams,
    cursor=UpdateJoinStatesCursor,
    resource=lambda params: params.user_id,
    needs_admin=False,
    lock=lambda params: f"update_join_states:{params.user_id}",
)
"""One for each change: a later one begins again, as rooms that this one has left behind show the earlier profile."""


@frozen
class UpdateJoinStates:
    """Each step shows the profile of its moment in `batch` rooms; one that shows it already stays as it is."""

    appender: EventAppender
    events: EventStore
    clock: Clock

    def step(
        self, txn: Transaction, task: TaskView[UpdateJoinStatesParams, UpdateJoinStatesCursor]
    ) -> Outcome:
        cursor = task.cursor or UpdateJoinStatesCursor(room_nid=0)
        members = joined_after(txn, task.params.user_id, cursor.room_nid, task.batch)
        writes = profile_writes(txn, self.events, task.params.user_id, members, self.clock.now_ms())
        results = self.appender.append(txn, writes) if writes else []
        refused = sum(isinstance(result, MatrixError) for result in results)
        shown, refused = cursor.shown + len(results) - refused, cursor.refused + refused
        if len(members) < task.batch:
            return Done({"shown": shown, "refused": refused}, done=len(results))
        return Next(
            UpdateJoinStatesCursor(room_nid=members[-1].room_nid, shown=shown, refused=refused),
            done=len(results),
        )
