"""`doctor`: what is wrong, and what to do about it."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import click

from synapse_lite.cli.doctor.app_services import check_app_services
from synapse_lite.cli.doctor.database import check_clock, check_facts, check_schema, measure
from synapse_lite.cli.doctor.duties import check_duties, named_for_duties
from synapse_lite.cli.doctor.engine import (
    check_followers,
    check_passed_over,
    check_runners,
    check_unserved,
)
from synapse_lite.cli.doctor.findings import Finding, Level, error, has_errors, ok, warning
from synapse_lite.cli.doctor.listeners import check_listeners
from synapse_lite.cli.doctor.losses import check_losses
from synapse_lite.cli.doctor.owner import check_owner
from synapse_lite.cli.doctor.report import as_json_object, print_report
from synapse_lite.cli.doctor.startup import check_startup
from synapse_lite.cli.exits import Exit
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import config_option, json_option
from synapse_lite.cli.output import echo_json, open_console
from synapse_lite.config.load import load
from synapse_lite.config.model import Config
from synapse_lite.errors import ConfigError
from synapse_lite.storage.database import DatabaseError
from synapse_lite.storage.diagnosis import (
    read_connected,
    read_foreign_tables,
    read_migrations,
    read_runner_names,
)
from synapse_lite.storage.migrate import available
from synapse_lite.storage.server_identity import read_identity
from synapse_lite.storage.session import Session
from synapse_lite.storage.tasks import read_followers, read_passed_over, read_runners, read_unserved

_CONNECT_TIMEOUT = 10
_STATEMENT_TIMEOUT_MS = 30_000
_WEEK_MS = 7 * 24 * 3600 * 1000
_SHOWN = 10


@explained
@click.command()
@config_option
@json_option
def doctor(*, config_paths: tuple[Path, ...], as_json: bool) -> None:
    """Check the configuration, the database, the processes, their tasks, application services. Changes nothing.

    Give the files of the main process; and those of a worker after them, to check its listeners instead.
    """
    findings: list[Finding] = []
    config: Config | None = None
    try:
        config = load(config_paths, os.environ)
    except ConfigError as mistakes:
        findings.append(
            error("config", "the server would not start", "correct every line", str(mistakes).splitlines())
        )
    else:
        findings += check_options(config)
        findings.append(check_startup(config))
        findings += examine_database(config)
        findings += check_listeners(config.worker_name, config.effective_listeners)
        findings += check_app_services(config)
    if as_json:
        echo_json(as_json_object(findings))
    else:
        print_report(open_console(), findings)
    if config is None:
        sys.exit(Exit.CONFIG.value)
    if has_errors(findings):
        sys.exit(Exit.FAILURE.value)


def check_options(config: Config) -> Iterator[Finding]:
    if config.unknown:
        yield warning(
            "config", "unknown options change nothing", "look for typing mistakes", list(config.unknown)
        )
    else:
        yield ok("config", f"{config.worker_name} of {config.server_name}: every option is known")
    yield from check_losses(config)


def examine_database(config: Config) -> Iterator[Finding]:
    """What depends on a check that fails is not looked at."""
    arguments = {"connect_timeout": _CONNECT_TIMEOUT, **config.database.dsn_kwargs()}
    settings = {
        "application_name": "synapse_lite_doctor",
        "statement_timeout": str(_STATEMENT_TIMEOUT_MS),
        "default_transaction_read_only": "on",
    }
    with closing(Session(arguments, settings)) as session:
        try:
            facts, skew = measure(session, _now_ms)
            yield from check_facts(facts, any_locale=config.database.allow_unsafe_locale)
            yield check_clock(skew)
            applied = session.read(read_migrations)
            schema = check_schema(applied, available(), () if applied else session.read(read_foreign_tables))
            yield schema
            if schema.level is not Level.ERROR:
                yield check_owner(session.read(read_identity), config)
                yield from examine_tasks(session, config, facts.clock_ms)
                yield from check_duties(config, session.read(read_connected, named_for_duties(config)))
        except DatabaseError as problem:
            yield error(
                "database",
                "does not answer",
                "start PostgreSQL, and compare database.args with it",
                [line.strip() for line in str(problem).splitlines()],
            )


def examine_tasks(session: Session, config: Config, now_ms: int) -> Iterator[Finding]:
    """`now_ms` by the database's clock."""
    runners, seen = session.read(read_runners), session.read(read_runner_names)
    yield from check_runners(runners, seen, config.task_runners, now_ms)
    yield check_unserved(session.read(read_unserved), now_ms)
    yield from check_followers(session.read(read_followers))
    count, newest = session.read(partial(read_passed_over, within_ms=_WEEK_MS, limit=_SHOWN))
    yield from check_passed_over(count, newest, now_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
