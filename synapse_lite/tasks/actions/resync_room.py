"""The members of a room that was entered without them are fetched and filled in."""

from synapse_lite.clock import doubling_pause
from synapse_lite.federation.fetching import UnverifiedError
from synapse_lite.federation.peers import PeerError
from synapse_lite.federation.resync import RoomResync
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Later, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

FIRST_SECONDS = 5.0
MAX_SECONDS = 3600.0
KEYS_SECONDS = 60.0
"""After which it is tried again to verify those whose servers' keys could not be had."""


class ResyncRoomParams(TaskModel):
    room_id: str


class ResyncRoomCursor(TaskModel):
    """How many events lack, as far as that is known; and how often, for which reason, nobody told it."""

    lacking: int = 0
    failures: int = 0
    error: str = ""


RESYNC_ROOM = TaskSpec(
    action="resync_room",
    version=1,
    params=ResyncRoomParams,
    cursor=ResyncRoomCursor,
    resource=lambda params: params.room_id,
    unique=lambda params: params.room_id,
    needs_admin=False,
)


class ResyncRoom:
    """Goes on for as long as the room is partial: a room whose servers do not answer stays as it is, and they are asked again."""

    def __init__(self, resync: RoomResync) -> None:
        self._resync = resync

    async def ask(self, task: TaskView[ResyncRoomParams, ResyncRoomCursor]) -> int | PeerError | None:
        try:
            return await self._resync.advance(task.params.room_id)
        except PeerError as error:
            return error

    def step(self, _txn: Transaction, task: TaskView[ResyncRoomParams, ResyncRoomCursor]) -> Outcome:
        cursor, left = task.cursor or ResyncRoomCursor(), task.answer
        if left is None:
            return Done({}, done=cursor.lacking)
        if isinstance(left, PeerError):
            failures = cursor.failures + 1
            seconds = doubling_pause(FIRST_SECONDS, failures - 1, MAX_SECONDS)
            if isinstance(left, UnverifiedError):
                seconds = KEYS_SECONDS
            return Later(
                ResyncRoomCursor(lacking=cursor.lacking, failures=failures, error=str(left)[:500]), seconds
            )
        done = max(0, cursor.lacking - left)
        return Next(ResyncRoomCursor(lacking=left), done=done, phase="fill", total=task.done + done + left)
