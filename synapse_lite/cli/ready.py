"""What `up` says when the server is ready, and the administrator of a new server."""

import secrets
from collections.abc import Mapping
from typing import Any

import attrs
import click
import orjson
from rich.console import Console
from rich.markup import escape

from synapse_lite.cli.api import ApiError, register
from synapse_lite.errors import Errcode


@attrs.frozen
class Admin:
    user_id: str
    password: str
    access_token: str


@attrs.frozen
class Ready:
    """The running server, as `--json` prints it. `admin` only when it was made just now; `postgres` is for psycopg2."""

    base_url: str
    server_name: str
    registration_shared_secret: str | None
    admin: Admin | None
    pids: Mapping[str, int]
    data_dir: str
    postgres: Mapping[str, Any]


def create_admin(base_url: str, shared_secret: str) -> Admin | None:
    """The user `admin` with a random password, or None when there is one. Raises ApiError."""
    password = secrets.token_urlsafe(18)
    try:
        registered = register(base_url, shared_secret, username="admin", password=password, admin=True)
    except ApiError as error:
        if error.errcode == Errcode.USER_IN_USE:
            return None
        raise
    return Admin(registered["user_id"], password, registered["access_token"])


def print_json(ready: Ready) -> None:
    click.echo(orjson.dumps(attrs.asdict(ready)))


def print_text(ready: Ready) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\n[bold green]{escape(ready.server_name)} is ready[/] at [bold]{ready.base_url}[/]")
    console.print(f"  data        {escape(ready.data_dir)}")
    for name, pid in ready.pids.items():
        console.print(f"  {name:<12}pid {pid}")
    if ready.admin is None:
        console.print("  Register users with: synapse-lite register-user -k SECRET", ready.base_url)
        return
    token = ready.admin.access_token
    console.print(f"\n  admin       {escape(ready.admin.user_id)}")
    console.print(f"  password    {escape(ready.admin.password)}   (shown only once)")
    console.print(f"  token       {escape(token)}")
    console.print("\nRedact everything that a user has sent, and see what becomes of it:")
    console.print(redact_example(ready.base_url, token, f"@someone:{ready.server_name}"), markup=False)


def redact_example(base_url: str, access_token: str, user_id: str) -> str:
    """Two commands for a shell."""
    curl = f"curl -H 'Authorization: Bearer {access_token}'"
    users = f"{base_url}/_synapse/admin/v1/user"
    return (
        f"  {curl} '{users}/{user_id}/redact' -d '{{\"rooms\": []}}'\n"
        f"  {curl} '{users}/redact_status/REDACT_ID'\n"
    )
