"""What Synapse has under `experimental_features`, as far as an option decides about it here."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field, field_validator, model_validator

from synapse_lite.config.options import Options

# fmt: off
_ALWAYS_ON = frozenset(
    f"msc{number}" for number in (
        1763, 2285, 2432, 2666, 2946, 3026, 3030, 3266, 3391, 3440, 3575, 3773, 3814, 3827, 3856, 3874, 3881,
        3916, 3981, 4133, 4151, 4169, 4210, 4222, 4293,
    )
) | {"msc3202_device_masquerading"}
# fmt: on


class ExperimentalFeatures(Options):
    msc2409_to_device_messages_enabled: bool = Field(
        default=False,
        description="Application services that hear of more than events get the messages to their users' devices (MSC2409).",
    )
    msc3202_transaction_extensions: bool = Field(
        default=False,
        description="Application services that ask for it hear of device lists and of their users' keys (MSC3202).",
    )
    msc4108_enabled: bool = Field(
        default=False,
        description="Devices meet here when one signs in with a QR code of the other (MSC4108).",
    )
    msc4108_delegation_endpoint: str | None = Field(
        default=None, description="URL at which they meet instead; clients are sent there."
    )
    msc4306_enabled: bool = Field(
        default=False,
        description="Users follow threads, and what is said in others notifies only whom it mentions (MSC4306, MSC4308).",
    )

    def undeclared(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Those that are not there."""
        for path, value in super().undeclared(prefix):
            if path.removeprefix(prefix).removesuffix("_enabled") not in _ALWAYS_ON:
                yield path, value

    @field_validator("msc4108_delegation_endpoint")
    @classmethod
    def _valid_url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("https://", "http://")):
            raise ValueError("should start with https:// or http://")
        return url

    @model_validator(mode="after")
    def _one_of_them(self) -> "ExperimentalFeatures":
        if self.msc4108_enabled and self.msc4108_delegation_endpoint is not None:
            raise ValueError("msc4108_enabled and msc4108_delegation_endpoint exclude each other")
        return self


class ExperimentalOptions(Options):
    """Experimental features"""

    experimental_features: ExperimentalFeatures = Field(
        default=ExperimentalFeatures(), description="What is not in the specification yet."
    )
