"""Erase many users: one task, whose parts are the users."""

from pydantic import Field

from synapse_lite.tasks.actions.erase_user import ERASE_USER, EraseParams
from synapse_lite.tasks.actions.parts import MAX_PARTS, Parts, PartsCursor
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.specs import TaskSpec


class EraseUsersParams(TaskModel):
    """`erasure` is what to do with each of `user_ids`, as if its `user_id` were theirs."""

    user_ids: tuple[str, ...] = Field(min_length=1, max_length=MAX_PARTS)
    erasure: EraseParams


ERASE_USERS = TaskSpec(
    action="erase_users",
    version=1,
    params=EraseUsersParams,
    cursor=PartsCursor,
)

ERASE_EACH_USER = Parts[EraseUsersParams](
    ERASE_USER,
    lambda params: params.user_ids,
    lambda params, user_id: params.erasure.model_copy(update={"user_id": user_id}),
)
