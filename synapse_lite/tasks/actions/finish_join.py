"""A join that another server may have taken, and whose answer never came, is finished: the user comes in, or is led out again."""

from collections.abc import Awaitable, Callable

from synapse_lite.clock import doubling_pause
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Fail, Later, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

FIRST_SECONDS = 60.0
"""Whoever tries again by themself comes first."""
MAX_SECONDS = 3600.0
MAX_JOINS = 8  # about two hours
MAX_ATTEMPTS = 170  # about a week


class FinishJoinParams(TaskModel):
    """`was_nid`: the event that said what the user was to the room before; `servers` are those that were asked.

    `wanted`: False where the user has left meanwhile, without being in the room for us.
    """

    room_id: str
    user_id: str
    servers: tuple[str, ...]
    was_nid: int | None = None
    wanted: bool = True


class FinishJoinCursor(TaskModel):
    """How often it was tried, and what stood in the way the last time."""

    attempts: int = 0
    error: str = ""


def unique_key(user_id: str, room_id: str, was_nid: int | None) -> str:
    return f"{user_id} {room_id} {was_nid}"


FINISH_JOIN = TaskSpec(
    action="finish_join",
    version=1,
    params=FinishJoinParams,
    cursor=FinishJoinCursor,
    resource=lambda params: params.user_id,
    unique=lambda params: unique_key(params.user_id, params.room_id, params.was_nid),
    needs_admin=False,
)

EndJoin = Callable[[FinishJoinParams, bool], Awaitable[str | None]]
"""Ends the user's being in the room only there; the second argument: by leading them out. None: it is over, else what stands in the way."""


class FinishJoin:
    """Written with the join, so that no crash loses it. Ends when the user has something else to do with the room."""

    def __init__(self, end_join: EndJoin) -> None:
        self._end_join = end_join

    async def ask(self, task: TaskView[FinishJoinParams, FinishJoinCursor]) -> str | None:
        attempts = (task.cursor or FinishJoinCursor()).attempts
        return await self._end_join(task.params, attempts >= MAX_JOINS or not task.params.wanted)

    def step(self, _txn: Transaction, task: TaskView[FinishJoinParams, FinishJoinCursor]) -> Outcome:
        error: str | None = task.answer
        if error is None:
            return Done({})
        attempts = (task.cursor or FinishJoinCursor()).attempts + 1
        if attempts >= MAX_ATTEMPTS:
            return Fail(error)
        seconds = doubling_pause(FIRST_SECONDS, attempts, MAX_SECONDS)
        return Later(FinishJoinCursor(attempts=attempts, error=error[:500]), seconds)
