"""`main`, `worker`: one process of the server. `migrate`: its database."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from synapse_lite.cli.commands import imported
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import config_option
from synapse_lite.config.load import load
from synapse_lite.config.model import Config
from synapse_lite.errors import ConfigError
from synapse_lite.storage.migrate import migrate


def _run(config: Config) -> NoReturn:
    """To import a whole server takes a second: longer than a mistake in its configuration needs to be told."""
    sys.exit(imported("synapse_lite.workers.process", "run")(config))


@explained
@click.command("main")
@config_option
def main_process(config_paths: tuple[Path, ...]) -> None:
    """Run the main process."""
    config = load(config_paths, os.environ)
    if config.is_worker:
        raise ConfigError(f"worker_app: is the configuration of worker {config.worker_name}; use worker")
    _run(config)


@explained
@click.command("worker")
@config_option
def worker_process(config_paths: tuple[Path, ...]) -> None:
    """Run a worker: give the file of the main process first, then the worker's own."""
    config = load(config_paths, os.environ)
    if not config.is_worker:
        raise ConfigError("worker_app: is required in the configuration of a worker")
    _run(config)


@explained
@click.command("migrate")
@config_option
def migrate_database(config_paths: tuple[Path, ...]) -> None:
    """Bring the database schema up to date. The server does so, too, when it starts."""
    config = load(config_paths, os.environ)
    applied = migrate(config.database.dsn_kwargs())
    click.echo("\n".join(applied) if applied else "The schema is up to date.")
