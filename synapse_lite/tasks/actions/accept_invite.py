"""An invite that is accepted for its user, and whose room could not be entered at once, is tried again."""

from collections.abc import Awaitable, Callable

from synapse_lite.clock import doubling_pause
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Fail, Later, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

FIRST_SECONDS = 5.0
MAX_SECONDS = 3600.0
MAX_ATTEMPTS = 15  # about six hours

JoinInvited = Callable[[str, str], Awaitable[bool]]
"""Brings a user into a room to which they are still invited. False: it is not over yet, ask again."""


class AcceptInviteParams(TaskModel):
    user_id: str
    room_id: str


class AcceptInviteCursor(TaskModel):
    attempts: int = 0


ACCEPT_INVITE = TaskSpec(
    action="accept_invite",
    version=1,
    params=AcceptInviteParams,
    cursor=AcceptInviteCursor,
    resource=lambda params: params.user_id,
    unique=lambda params: f"{params.user_id} {params.room_id}",
    needs_admin=False,
)


class AcceptInvite:
    def __init__(self, join: JoinInvited) -> None:
        self._join = join

    async def ask(self, task: TaskView[AcceptInviteParams, AcceptInviteCursor]) -> bool:
        return await self._join(task.params.user_id, task.params.room_id)

    def step(self, _txn: Transaction, task: TaskView[AcceptInviteParams, AcceptInviteCursor]) -> Outcome:
        if task.answer:
            return Done({})
        attempts = (task.cursor or AcceptInviteCursor()).attempts + 1
        if attempts >= MAX_ATTEMPTS:
            return Fail("no server lets the user in: the invite waits for them")
        return Later(
            AcceptInviteCursor(attempts=attempts), doubling_pause(FIRST_SECONDS, attempts, MAX_SECONDS)
        )
