"""`import-synapse`: from a Synapse's database into ours, part by part."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click

from synapse_lite.cli.explained import explained
from synapse_lite.cli.import_synapse.accounts import import_accounts
from synapse_lite.cli.import_synapse.checks import check
from synapse_lite.cli.import_synapse.encryption import import_encryption, tell_of_devices
from synapse_lite.cli.import_synapse.reports import import_reports
from synapse_lite.cli.import_synapse.rooms import import_rooms
from synapse_lite.cli.import_synapse.sessions import import_sessions
from synapse_lite.cli.import_synapse.target import Import
from synapse_lite.cli.import_synapse.user_state import import_user_state, start_pushers
from synapse_lite.cli.options import config_option
from synapse_lite.config.load import load
from synapse_lite.storage.imported import parts
from synapse_lite.storage.migrate import migrate
from synapse_lite.storage.pool import connect
from synapse_lite.storage.synapse.database import SynapseDatabase, SynapseDatabaseError

PARTS: tuple[tuple[str, Callable[[Import], None]], ...] = (
    ("accounts", import_accounts),
    ("sessions", import_sessions),
    ("encryption", import_encryption),
    ("rooms", import_rooms),
    ("reports", import_reports),
    ("user state", import_user_state),
    ("pushers", start_pushers),
    ("device lists", tell_of_devices),
)
"""In this order: each leans on those before it. Names are kept in the database."""
UNAWAITED = "-c synchronous_commit=off"
"""Commits come onto the disk in their order. What is lost of the last ones when the machine ends is done again, as after any interruption."""


@explained
@click.command("import-synapse")
@config_option
@click.option(
    "--database",
    required=True,
    help="Synapse's database: postgresql://user:password@host/name, or an SQLite file.",
)
def import_synapse(*, config_paths: tuple[Path, ...], database: str) -> None:
    """Take over the users, sessions, keys and rooms of a Synapse of the same server name.

    Both servers must be stopped. Synapse's database stays as it is. After an interruption the same command goes on:
    what is here already is left alone, and a part that is done is not done again.
    """
    config = load(config_paths, os.environ)
    migrate(config.database.dsn_kwargs())
    try:
        with (
            SynapseDatabase.open(database) as synapse,
            closing(connect(config.database.dsn_kwargs(), UNAWAITED)) as connection,
        ):
            expires = config.account_validity.effective_period is not None
            work = Import(synapse, connection, config.server_name, accounts_expire=expires)
            check(work)
            for name, part in PARTS:
                _run(work, name, part)
    except SynapseDatabaseError as error:
        raise click.ClickException(f"Synapse's database: {error}") from None
    for what, count in sorted(work.counts.items()):
        click.echo(f"{what}: {count}")


def _run(work: Import, name: str, part: Callable[[Import], None]) -> None:
    """Unless it is done."""
    with work.transaction() as txn:
        done = parts.is_done(txn, name)
    click.echo(f"{name}: done before" if done else f"{name} …", err=True)
    if done:
        return
    part(work)
    with work.transaction() as txn:
        parts.note_done(txn, name, work.now_ms(), on_disk=True)
