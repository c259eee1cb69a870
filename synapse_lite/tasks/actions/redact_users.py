"""Redact all events of many users: a wave of spammers is one task, whose parts are the redactions of each."""

from pydantic import Field

from synapse_lite.tasks.actions.parts import MAX_PARTS, Parts, PartsCursor
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS, RedactParams
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.specs import TaskSpec, Upcast


class RedactUsersParams(TaskModel):
    """`redaction` is what to do for each of `user_ids`, as if its `user_id` were theirs."""

    user_ids: tuple[str, ...] = Field(min_length=1, max_length=MAX_PARTS)
    redaction: RedactParams


REDACT_USERS = TaskSpec(
    action="redact_users",
    version=2,
    params=RedactUsersParams,
    cursor=PartsCursor,
    upcasts=(Upcast(version=1),),
)

REDACT_EACH_USER = Parts[RedactUsersParams](
    REDACT_ALL_EVENTS,
    lambda params: params.user_ids,
    lambda params, user_id: params.redaction.model_copy(update={"user_id": user_id}),
)
