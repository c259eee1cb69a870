"""Options that several commands have."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import click

config_option = click.option(
    "-c",
    "--config-path",
    "config_paths",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE",
    help="Configuration file, or a directory of *.yaml files; may be repeated: later files replace "
    "top-level options of earlier ones.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on standard output, and nothing else."
)


@attrs.frozen
class Access:
    """Where the server is, and who asks, as the command line and the environment have it."""

    url: str | None
    token: str | None = attrs.field(repr=False)
    user: str | None
    password: str | None = attrs.field(repr=False)
    config_paths: tuple[Path, ...]


_ACCESS_OPTIONS = (
    click.option(
        "--url",
        envvar="SYNAPSE_LITE_URL",
        show_envvar=True,
        help="Address of the server. [the client listener of -c, else http://localhost:8008]",
    ),
    click.option(
        "--token", envvar="SYNAPSE_LITE_TOKEN", show_envvar=True, help="Access token of a server admin."
    ),
    click.option("-u", "--user", help="Log in as this admin instead, for this command only."),
    click.option(
        "-p",
        "--password",
        envvar="SYNAPSE_LITE_PASSWORD",
        show_envvar=True,
        help="Their password; asked for when not given.",
    ),
    config_option,
)


def access_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command gets the options that say where the server is and who asks, as one value `access`."""

    @functools.wraps(command)
    def with_access(
        *,
        url: str | None,
        token: str | None,
        user: str | None,
        password: str | None,
        config_paths: tuple[Path, ...],
        **others: Any,
    ) -> None:
        command(access=Access(url, token, user, password, config_paths), **others)

    for option in reversed(_ACCESS_OPTIONS):
        with_access = option(with_access)
    return with_access
