"""Shut many rooms down: one task, whose parts are the rooms."""

from pydantic import Field

from synapse_lite.tasks.actions.parts import MAX_PARTS, Parts, PartsCursor
from synapse_lite.tasks.actions.shutdown_room import SHUTDOWN_AND_PURGE_ROOM, ShutdownParams
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.specs import TaskSpec


class ShutdownRoomsParams(TaskModel):
    """`shutdown` is what to do with each of `room_ids`, as if its `room_id` were theirs."""

    room_ids: tuple[str, ...] = Field(min_length=1, max_length=MAX_PARTS)
    shutdown: ShutdownParams


SHUTDOWN_ROOMS = TaskSpec(action="shutdown_rooms", version=1, params=ShutdownRoomsParams, cursor=PartsCursor)

SHUTDOWN_EACH_ROOM = Parts[ShutdownRoomsParams](
    SHUTDOWN_AND_PURGE_ROOM,
    lambda params: params.room_ids,
    lambda params, room_id: params.shutdown.model_copy(update={"room_id": room_id}),
)
