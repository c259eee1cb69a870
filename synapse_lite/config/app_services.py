"""Application services, and their registration files (application service API, "Registration") as bridges write them."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from synapse_lite.config.options import Options
from synapse_lite.config.yaml_file import read_yaml
from synapse_lite.errors import ConfigError
from synapse_lite.ids import MAX_ID_BYTES

_ALIKE = ("id", "as_token")
"""What no two services may have in common: the first names it, by the second it is known."""


class AppServiceOptions(Options):
    """Application services"""

    app_service_config_files: tuple[Path, ...] = Field(
        default=(), description="Registration files of application services, such as bridges."
    )
    track_appservice_user_ips: bool = Field(
        default=False,
        description="From where application services speak for their users is kept, as the addresses of others are.",
    )
    use_appservice_legacy_authorization: bool = Field(
        default=False,
        description="Application services are given their token in the query, too: for such as know no other way.",
    )


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return pattern


def _web_address(url: str) -> str:
    if url and not url.startswith(("http://", "https://")):
        raise ValueError("should begin with http:// or https://")
    return url.rstrip("/")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Namespace(_Model):
    regex: Annotated[str, AfterValidator(_regex)]
    exclusive: bool


class Namespaces(_Model):
    users: tuple[Namespace, ...] | None = None
    aliases: tuple[Namespace, ...] | None = None
    rooms: tuple[Namespace, ...] | None = None


class Registration(_Model):
    """A file. Other keys are of no concern to a homeserver. `url` "": as null, which some write so."""

    id: str = Field(min_length=1)
    url: Annotated[str, AfterValidator(_web_address)] | None
    as_token: str = Field(min_length=1)
    hs_token: str = Field(min_length=1)
    sender_localpart: str = Field(min_length=1)
    namespaces: Namespaces
    rate_limited: bool = True
    protocols: tuple[str, ...] | None = None
    receive_ephemeral: bool = False
    push_ephemeral: bool = Field(default=False, alias="de.sorunome.msc2409.push_ephemeral")
    msc3202: bool = Field(default=False, alias="org.matrix.msc3202")

    def sender(self, server_name: str) -> str:
        return f"@{self.sender_localpart}:{server_name}"


def read_registrations(files: Sequence[Path], server_name: str) -> tuple[Registration, ...]:
    """Raises ConfigError, a line for each mistake: `<file>: <path.to.key>: <what is wrong>`."""
    read: list[tuple[Path, Registration]] = []
    mistakes: list[str] = []
    for file in files:
        try:
            registration = Registration.model_validate(read_yaml(file))
        except ConfigError as error:
            mistakes.append(str(error))
        except ValidationError as error:
            mistakes += [f"{file}: {'.'.join(map(str, one['loc']))}: {_words(one)}" for one in error.errors()]
        else:
            mistakes += _own_mistakes(file, registration, server_name)
            mistakes += [
                f"{file}: {name}: is that of {other}, too"
                for other, before in read
                for name in _ALIKE
                if getattr(before, name) == getattr(registration, name)
            ]
            read.append((file, registration))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return tuple(registration for _, registration in read)


def _own_mistakes(file: Path, registration: Registration, server_name: str) -> Iterator[str]:
    sender = registration.sender(server_name)
    if ":" in registration.sender_localpart or len(sender.encode()) > MAX_ID_BYTES:
        yield f"{file}: sender_localpart: {sender} is no user id"


def _words(mistake: Any) -> str:
    message = "is required" if mistake["type"] == "missing" else mistake["msg"]
    return str(message).removeprefix("Value error, ").replace("Input should", "should")
