"""A rejection of an invite, or the end of a knock, that no server of the room has heard yet is told again."""

from typing import Any

from synapse_lite.clock import doubling_pause
from synapse_lite.errors import MatrixError
from synapse_lite.federation.handshakes import Handshakes, Wish
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.rooms import membership_in, room_by_id
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Fail, Later, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

FIRST_SECONDS = 60.0
MAX_SECONDS = 3600.0
"""Until it is heard, the inviting server takes the user for invited, and sends no second invite."""
MAX_ATTEMPTS = 170  # about a week
_REFUSED = range(400, 500)


class RetryLeaveParams(TaskModel):
    """`content` is all of the member event, `servers` are those that may be in the room."""

    room_id: str
    user_id: str
    servers: tuple[str, ...]
    content: dict[str, Any]


class RetryLeaveCursor(TaskModel):
    """How often it was tried, and what stood in the way the last time."""

    attempts: int = 0
    error: str = ""


RETRY_LEAVE = TaskSpec(
    action="retry_leave",
    version=1,
    params=RetryLeaveParams,
    cursor=RetryLeaveCursor,
    resource=lambda params: params.user_id,
    unique=lambda params: f"{params.user_id} {params.room_id}",
    needs_admin=False,
)


class RetryLeave:
    """Ends when a server has taken the leave or refuses it, or when the user has something new to do with the room."""

    def __init__(self, database: Database, handshakes: Handshakes) -> None:
        self._database = database
        self._handshakes = handshakes

    async def ask(self, task: TaskView[RetryLeaveParams, RetryLeaveCursor]) -> MatrixError | None:
        """What came of it; None: nothing more is to do."""
        params = task.params
        if not await self._database.read(_is_out, params):
            return None
        try:
            await self._handshakes.leave(
                params.servers, Wish(params.room_id, params.user_id, dict(params.content))
            )
        except MatrixError as error:
            return error
        return None

    def step(self, _txn: Transaction, task: TaskView[RetryLeaveParams, RetryLeaveCursor]) -> Outcome:
        error: MatrixError | None = task.answer
        if error is None:
            return Done({})
        if error.status in _REFUSED:
            return Done({"refused": error.message})
        attempts = (task.cursor or RetryLeaveCursor()).attempts + 1
        if attempts >= MAX_ATTEMPTS:
            return Fail(error.message)
        seconds = doubling_pause(FIRST_SECONDS, attempts, MAX_SECONDS)
        return Later(RetryLeaveCursor(attempts=attempts, error=error.message[:500]), seconds)


def _is_out(txn: Transaction, params: RetryLeaveParams) -> bool:
    """By their own doing, as when the task was asked for."""
    room = room_by_id(txn, params.room_id)
    member = None if room is None else membership_in(txn, room.nid, params.user_id)
    return member is not None and member.membership == "leave" and member.sender == params.user_id
