"""Push notifications."""

from typing import Annotated

from pydantic import Field

from synapse_lite.config.options import Options
from synapse_lite.config.units import Duration


class Push(Options):
    enabled: bool = Field(default=True, description="Push notifications to gateways at all.")
    include_content: bool = Field(
        default=True,
        description="Tell the gateway what was said and by whom. Else it gets the ids of event and room only.",
    )
    group_unread_count_by_room: bool = Field(
        default=True,
        description="The badge counts rooms with something unread; else all that is unread in them.",
    )
    jitter_delay: Annotated[Duration, Field(ge=0)] = Field(
        default=0, description="Wait up to so long before each push, at random."
    )


class PushOptions(Options):
    """Push notifications"""

    push: Push = Field(default=Push(), description="What is pushed to the apps of users.")
