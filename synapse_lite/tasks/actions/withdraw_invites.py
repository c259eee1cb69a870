"""Take back the invites that a user has sent and nobody has answered yet, such as those of a spammer."""

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.ids import is_local
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.members import leave_draft
from synapse_lite.rooms.values import Write
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.invites import PendingInvite, pending_invites
from synapse_lite.storage.tasks import TaskItem, record_items
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

MAX_INVITES = 20  # in one step: each is an event, and holds its room
WITHDRAWN, FAILED_TO_WITHDRAW = "withdrawn", "failed_to_withdraw"


class WithdrawInvitesParams(TaskModel):
    """`user_id`: who has invited."""

    user_id: str


class WithdrawInvitesCursor(TaskModel):
    """Invites into rooms before `room_nid`, and there of users up to `after`, were looked at."""

    room_nid: int = 0
    after: str = ""
    withdrawn: int = 0
    failed: int = 0


WITHDRAW_INVITES = TaskSpec(
    action="withdraw_invites",
    version=1,
    params=WithdrawInvitesParams,
    cursor=WithdrawInvitesCursor,
    resource=lambda params: params.user_id,
    unique=lambda params: params.user_id,
)

WithdrawInvitesTask = TaskView[WithdrawInvitesParams, WithdrawInvitesCursor]


@frozen
class WithdrawInvites:
    """The step of `WITHDRAW_INVITES`. Users of this server leave in their own name, whatever power anybody has.

    Those of other servers are put out by who has invited them, as far as the room lets them.
    """

    appender: EventAppender
    clock: Clock
    server_name: str

    def step(self, txn: Transaction, task: WithdrawInvitesTask) -> Outcome:
        cursor = task.cursor or WithdrawInvitesCursor()
        limit = min(task.batch, MAX_INVITES)
        user_id = task.params.user_id
        found = pending_invites(txn, user_id, self.server_name, (cursor.room_nid, cursor.after), limit)
        results = self.appender.append(txn, [self._write(user_id, one) for one in found]) if found else []
        items = [
            TaskItem(f"{one.room_id} {one.user_id}", FAILED_TO_WITHDRAW, str(result))
            if isinstance(result, MatrixError)
            else TaskItem(f"{one.room_id} {one.user_id}", WITHDRAWN)
            for one, result in zip(found, results, strict=True)
        ]
        record_items(txn, task.id, items)
        failed = sum(item.outcome == FAILED_TO_WITHDRAW for item in items)
        withdrawn = cursor.withdrawn + len(items) - failed
        failed += cursor.failed
        if len(found) < limit:
            return Done({"withdrawn": withdrawn, "failed_to_withdraw": failed}, done=len(items))
        last = found[-1]
        after = WithdrawInvitesCursor(
            room_nid=last.room_nid, after=last.user_id, withdrawn=withdrawn, failed=failed
        )
        return Next(after, done=len(items))

    def _write(self, inviter: str, invite: PendingInvite) -> Write:
        now_ms = self.clock.now_ms()
        if is_local(invite.user_id, self.server_name):
            return Write(invite.room_nid, leave_draft(invite.user_id, now_ms))
        return Write(invite.room_nid, Draft(MEMBER, inviter, {"membership": "leave"}, now_ms, invite.user_id))
