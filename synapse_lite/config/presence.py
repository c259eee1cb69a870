"""Whether users see who of the others is there."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from synapse_lite.config.options import Options
from synapse_lite.config.units import MINUTE, SECOND, Duration


class Presence(Options):
    enabled: Literal[True, False, "untracked"] = Field(
        default=True,
        description="Users see who is there; untracked: what is known is shown, what clients and other servers say of it is not kept.",
    )
    include_offline_users_on_sync: bool = Field(
        default=False, description="A client that begins is told of those who are not there, too."
    )
    last_active_granularity: Duration = Field(
        default=MINUTE, ge=SECOND, description="Who did something less than this ago is active at the moment."
    )
    sync_online_timeout: Duration = Field(
        default=30 * SECOND, description="Who has not asked for news for so long is not there any more."
    )
    idle_timeout: Duration = Field(
        default=5 * MINUTE, ge=SECOND, description="Who has done nothing for so long counts as away."
    )

    @property
    def is_tracked(self) -> bool:
        return self.enabled is True

    @property
    def is_shown(self) -> bool:
        return self.enabled is not False


class PresenceOptions(Options):
    """Presence"""

    presence: Presence = Field(default=Presence(), description="Who is there.")
    exclude_rooms_from_presence: tuple[str, ...] = Field(
        default=(), description="Ids of rooms in which nobody sees by that alone who is there."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_old_name(cls, values: Any) -> Any:
        """`use_presence` is the old form of `presence.enabled`."""
        if not isinstance(values, Mapping) or "use_presence" not in values:
            return values
        rest = dict(values)
        given = {"enabled": rest.pop("use_presence")}
        return {**rest, "presence": {**given, **(rest.get("presence") or {})}}
