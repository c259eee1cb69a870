"""TURN servers, through which calls pass where a direct connection is not possible."""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from synapse_lite.config.options import Options
from synapse_lite.config.units import HOUR, Duration


class MatrixRtc(Options):
    transports: tuple[dict[str, Any], ...] = Field(
        default=(),
        description="What calls of many go through: objects with a type, and what belongs to it.",
    )

    @field_validator("transports")
    @classmethod
    def _typed(cls, transports: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        if not all(isinstance(transport.get("type"), str) for transport in transports):
            raise ValueError("each should have a type")
        return transports


class VoipOptions(Options):
    """Calls"""

    turn_uris: tuple[str, ...] = Field(default=(), description="TURN servers that clients may use.")
    turn_shared_secret: str | None = Field(
        default=None,
        repr=False,
        description="Secret shared with them: each user gets credentials for a time.",
    )
    turn_shared_secret_path: Path | None = Field(
        default=None, description="File with that secret, instead of it."
    )
    turn_username: str | None = Field(
        default=None, description="Name for all users; not used with turn_shared_secret."
    )
    turn_password: str | None = Field(default=None, repr=False, description="Password of turn_username.")
    turn_user_lifetime: Duration = Field(default=HOUR, ge=1000, description="How long credentials are valid.")
    turn_allow_guests: bool = Field(default=True, description="Guests may use them.")
    matrix_rtc: MatrixRtc = Field(default=MatrixRtc(), description="Calls of many (MatrixRTC).")
