"""`up`: the whole server on this machine."""

import os
import queue
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import click

from synapse_lite.cli.api import answers, client_url
from synapse_lite.cli.data_dir import LOCALHOST, DataDir, free_port, options_in, worker_port
from synapse_lite.cli.explained import explained
from synapse_lite.cli.options import config_option
from synapse_lite.cli.ready import Ready, create_admin, print_json, print_text
from synapse_lite.config.load import load
from synapse_lite.config.model import Config
from synapse_lite.config.secret_files import ensure_registration_secret
from synapse_lite.errors import ConfigError
from synapse_lite.storage.migrate import migrate
from synapse_lite.workers import embedded_postgres
from synapse_lite.workers.children import Program
from synapse_lite.workers.embedded_postgres import EmbeddedPostgres
from synapse_lite.workers.guardian import Guardian
from synapse_lite.workers.supervisor import NAME, Event, Supervisor, Timing, stop_signals

_PYTHON = (sys.executable, "-m", "synapse_lite")
_DEFAULT_PORT = 8008


@attrs.frozen
class Request:
    """What the command line asks for. Port 0 is any free one."""

    data: DataDir
    server_name: str | None
    port: int | None
    workers: int
    config_paths: tuple[Path, ...]
    rate_limits: bool

    @property
    def worker_names(self) -> tuple[str, ...]:
        return tuple(f"background{number}" for number in range(1, self.workers + 1))


@attrs.frozen
class Site:
    """The server as configured: what is needed to start and to describe it."""

    config: Config
    base_url: str
    programs: tuple[Program, ...]


@explained
@click.command()
@click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(0, 32), help="Background workers."
)
@click.option(
    "--data-dir",
    default=Path("data"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Configuration, secrets, media, database.",
)
@click.option("--server-name", help="Domain of users and rooms, for the first start. [localhost]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the main process; 0 is any. [8008]")
@config_option
@click.option("--no-rate-limits", is_flag=True, help="For demonstrations, tests and measurements.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON when ready.")
def up(
    *,
    workers: int,
    data_dir: Path,
    server_name: str | None,
    port: int | None,
    config_paths: tuple[Path, ...],
    no_rate_limits: bool,
    as_json: bool,
) -> None:
    """Run the main process, workers and PostgreSQL on this machine.

    Without -c, everything is made in the data directory, with an administrator at the first start.
    With -c, your files are used; the embedded PostgreSQL runs only if they name no database.
    Every process that ends is started again. SIGINT or SIGTERM ends all of them.
    """
    request = Request(
        data=DataDir(data_dir.resolve()),
        server_name=server_name,
        port=port,
        workers=workers,
        config_paths=config_paths,
        rate_limits=not no_rate_limits,
    )
    run_site(request, print_json if as_json else print_text)


def run_site(request: Request, announce: Callable[[Ready], None]) -> None:
    """Until a signal asks to stop. Whatever was started has ended when it returns or raises."""
    data = request.data
    data.make()
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    with ExitStack() as stack:
        stack.enter_context(stop_signals(events.put))
        stack.enter_context(data.lock())
        guardian = Guardian((sys.executable, "-m", embedded_postgres.__name__, str(data.postgres)))
        stack.callback(guardian.stop)
        guardian.start()
        site = _configure(request, _start_database(request, stack))
        migrate(site.config.database.dsn_kwargs())
        supervisor = Supervisor(
            site.programs,
            events,
            group=guardian.group,
            probe=answers,
            write_line=_write_line,
            timing=Timing(),
        )
        supervisor.run(lambda pids: announce(_describe(request, site, pids)))


def _start_database(request: Request, stack: ExitStack) -> dict[str, Any] | None:
    """Connection arguments of the embedded PostgreSQL, or None where the operator has a database."""
    if "database" in options_in(request.config_paths):
        return None
    _write_line(NAME, f"starting PostgreSQL in {request.data.postgres}")
    postgres = EmbeddedPostgres(request.data.postgres)
    stack.callback(postgres.stop)
    return postgres.start()


def _configure(request: Request, database: Mapping[str, Any] | None) -> Site:
    """Write the files, and read them as the processes will. Raises ConfigError."""
    data = request.data
    if not request.config_paths:
        data.write_homeserver_file(request.server_name or "localhost")
    port = _choose_port(request)
    data.write_up_file(
        port=port,
        database=database,
        task_runners=request.worker_names or ("main",),
        rate_limits=request.rate_limits,
    )
    paths = (*(request.config_paths or (data.homeserver_file,)), data.up_file)
    config = ensure_registration_secret(load(paths, os.environ))
    if request.server_name not in (None, config.server_name):
        raise ConfigError(
            f"server_name: this server is {config.server_name}, and its name cannot be changed "
            f"to {request.server_name}"
        )
    base_url = f"http://{LOCALHOST}:{port}" if port else client_url(config)
    if base_url is None:
        raise ConfigError("listeners: should have one of type http with the resource client")
    main = Program("main", (*_PYTHON, "main", *_flags(*paths)), f"{base_url}/health")
    workers = (
        _worker(data, name, paths, worker_port(port, number))
        for number, name in enumerate(request.worker_names, start=1)
    )
    return Site(config, base_url, (main, *workers))


def _choose_port(request: Request) -> int | None:
    """None where the listeners of the operator's files stand."""
    if request.port is None and "listeners" in options_in(request.config_paths):
        return None
    wanted = _DEFAULT_PORT if request.port is None else request.port
    port = free_port(wanted)
    if port is None:
        raise ConfigError(f"port {wanted} is in use: choose another one with --port")
    return port


def _worker(data: DataDir, name: str, paths: tuple[Path, ...], port: int) -> Program:
    file = data.write_worker_file(name, port)
    return Program(name, (*_PYTHON, "worker", *_flags(*paths, file)), f"http://{LOCALHOST}:{port}/health")


def _flags(*paths: Path) -> list[str]:
    return [word for path in paths for word in ("-c", str(path.resolve()))]


def _describe(request: Request, site: Site, pids: Mapping[str, int]) -> Ready:
    config = site.config
    secret = config.registration_shared_secret
    # An operator's own server gets no user that nobody asked for.
    is_ours = not request.config_paths
    return Ready(
        base_url=site.base_url,
        server_name=config.server_name,
        registration_shared_secret=secret,
        admin=create_admin(site.base_url, secret) if is_ours and secret else None,
        pids=dict(pids),
        data_dir=str(request.data.path),
        postgres=config.database.dsn_kwargs(),
    )


def _write_line(name: str, line: str) -> None:
    click.echo(f"{name:<12}| {line}", err=True)
