"""How long messages are kept."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from synapse_lite.config.options import UNUSED, Options
from synapse_lite.config.units import DAY, SECOND, Duration, format_duration


class DefaultPolicy(Options):
    min_lifetime: Duration | None = Field(
        default=None, description="Accepted, and without effect.", json_schema_extra=UNUSED
    )
    max_lifetime: Duration | None = Field(
        default=None, description="How long messages are shown and kept; null: for ever."
    )


class PurgeJob(Options):
    """One of the jobs: which rooms it looks after, by the lifetime of their messages, and how often."""

    shortest_max_lifetime: Duration | None = Field(
        default=None, description="Rooms whose messages live longer than this; null: no bound."
    )
    longest_max_lifetime: Duration | None = Field(
        default=None,
        validate_default=True,
        description="Rooms whose messages live no longer than this; null: no bound.",
    )
    interval: Annotated[Duration, Field(ge=SECOND)] = Field(default=DAY, description="How often it runs.")

    @field_validator("longest_max_lifetime")
    @classmethod
    def _is_longer(cls, longest: int | None, info: ValidationInfo) -> int | None:
        return _at_least(longest, info.data.get("shortest_max_lifetime"), "shortest_max_lifetime", gap=1)


class RetentionOptions(Options):
    enabled: bool = Field(default=False, description="Hide and purge expired messages.")
    default_policy: DefaultPolicy = Field(
        default=DefaultPolicy(), description="For rooms without m.room.retention."
    )
    allowed_lifetime_min: Duration | None = Field(
        default=None, description="No message is purged earlier, whatever its room says; null: no limit."
    )
    allowed_lifetime_max: Duration | None = Field(
        default=None,
        validate_default=True,
        description="Messages with a lifetime are purged after this, whatever their room says; null: no limit.",
    )
    purge_jobs: tuple[PurgeJob, ...] = Field(
        default=(), description="When which rooms are purged; empty: all of them once a day."
    )

    @field_validator("allowed_lifetime_max")
    @classmethod
    def _is_no_less(cls, most: int | None, info: ValidationInfo) -> int | None:
        return _at_least(most, info.data.get("allowed_lifetime_min"), "allowed_lifetime_min")

    @property
    def effective_jobs(self) -> tuple[PurgeJob, ...]:
        if not self.enabled:
            return ()
        return self.purge_jobs or (PurgeJob(),)


def _at_least(value: int | None, bound: int | None, name: str, gap: int = 0) -> int | None:
    if value is not None and bound is not None and value < bound + gap:
        raise ValueError(f"should be longer than {name}, which is {format_duration(bound)}")
    return value
