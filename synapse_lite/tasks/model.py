"""What the row of a task holds as JSON."""

from pydantic import BaseModel, ConfigDict


class TaskModel(BaseModel):
    """The params or the cursor of an action: these fields and no others, each checked when the row is read."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        defer_build=True,  # most processes run few of the actions that they know
    )
