"""What users have to agree to."""

import re
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from synapse_lite.config.options import Options

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class UserConsent(Options):
    version: str = Field(description="Version of the terms; a new one asks everybody again.")
    template_dir: Path = Field(
        description="Directory of the pages: en/<version>.html shows the terms, en/success.html thanks (Jinja2)."
    )
    policy_name: str = Field(default="Privacy Policy", description="What clients call the terms.")
    require_at_registration: bool = Field(default=False, description="Who registers has to agree first.")
    block_events_error: str | None = Field(
        default=None,
        description="Who has not agreed cannot write, and is told this; %(consent_uri)s is the page. "
        "Null: they can.",
    )
    server_notice_content: dict[str, Any] | None = Field(
        default=None,
        description="A message to who has not agreed; %(consent_uri)s in its texts is the page. Needs server_notices.",
    )
    send_server_notice_to_guests: bool = Field(default=False, description="Guests get it, too.")

    @field_validator("version")
    @classmethod
    def _is_file_name(cls, version: str) -> str:
        if not _VERSION.fullmatch(version):
            raise ValueError("should consist of letters, digits, '.', '_' and '-'")
        return version


class ConsentOptions(Options):
    """Terms"""

    user_consent: UserConsent | None = Field(
        default=None, description="What users have to agree to. Its page is at /_matrix/consent."
    )
    form_secret: str | None = Field(
        default=None, repr=False, description="Secret of the links to that page, the same in all processes."
    )
    form_secret_path: Path | None = Field(default=None, description="File with that secret, instead of it.")

    @model_validator(mode="after")
    def _has_secret(self) -> Self:
        if self.user_consent is not None and not self.form_secret:
            raise ValueError("user_consent needs form_secret")
        return self
