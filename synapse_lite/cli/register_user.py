"""`register-user`: as Synapse's register_new_matrix_user."""

import os
import sys
from pathlib import Path
from typing import TextIO

import click

from synapse_lite.cli.api import DEFAULT_URL, ApiError, client_url, register
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import config_option
from synapse_lite.config.load import load
from synapse_lite.errors import ConfigError, Errcode


@explained
@click.command("register-user")
@click.option("-u", "--user", help="Local part of the user ID; asked for when not given.")
@click.option("-p", "--password", help="Password; asked for when not given.")
@click.option("--password-file", type=click.File(), help="File with the password.")
@click.option("-a/ ", "--admin/--no-admin", default=None, help="Make the user a server admin.")
@click.option("-t", "--user-type", "--user_type", help="Type of the user, such as bot.")
@click.option("--exists-ok", is_flag=True, help="Succeed when the user exists already.")
@click.option("-k", "--shared-secret", help="The registration_shared_secret, instead of -c.")
@config_option
@click.argument("server_url", required=False)
def register_user(
    *,
    user: str | None,
    password: str | None,
    password_file: TextIO | None,
    admin: bool | None,
    user_type: str | None,
    exists_ok: bool,
    shared_secret: str | None,
    config_paths: tuple[Path, ...],
    server_url: str | None,
) -> None:
    """Register a user over HTTP, with the shared secret of the server at SERVER_URL.

    Without SERVER_URL: the first HTTP listener of the configuration, or http://localhost:8008.
    """
    if (shared_secret is None) == (not config_paths):
        raise click.UsageError("Give one of -c and -k.")
    if password is not None and password_file is not None:
        raise click.UsageError("Give one of -p and --password-file.")
    secret = shared_secret
    if config_paths:
        config = load(config_paths, os.environ)
        secret = config.registration_shared_secret
        server_url = server_url or client_url(config)
    if not secret:
        raise ConfigError("registration_shared_secret: is not set")
    if password_file is not None:
        password = password_file.read().strip()
    try:
        registered = register(
            server_url or DEFAULT_URL,
            secret,
            username=user or click.prompt("User"),
            password=password or click.prompt("Password", hide_input=True, confirmation_prompt=True),
            admin=_ask_admin() if admin is None else admin,
            user_type=user_type,
        )
    except ApiError as error:
        if not (exists_ok and error.errcode == Errcode.USER_IN_USE):
            raise
        click.echo("The user exists already.")
    else:
        click.echo(f"Registered {registered['user_id']}")


def _ask_admin() -> bool:
    return sys.stdin.isatty() and click.confirm("Make the user a server admin?")
