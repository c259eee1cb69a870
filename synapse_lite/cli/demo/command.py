"""`demo`: the main job on real traffic."""

import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from synapse_lite.cli.data_dir import DataDir
from synapse_lite.cli.demo.connection import DemoError
from synapse_lite.cli.demo.rehearsal import rehearse
from synapse_lite.cli.demo.report import Report, print_json, print_text
from synapse_lite.cli.demo.stages import Stages
from synapse_lite.cli.demo.traffic import Cast, Plan, assemble_cast
from synapse_lite.cli.explained import explained
from synapse_lite.cli.ready import Ready, redact_example
from synapse_lite.cli.up import Request, run_site
from synapse_lite.errors import ConfigError
from synapse_lite.workers.supervisor import StopAsked, stop_signals

_LAST_LINES = 20


class StoppedError(DemoError):
    """A signal ended the demo."""


@explained
@click.command()
@click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(1, 32), help="Background workers."
)
@click.option(
    "--messages",
    default=1000,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    help="Messages of the spammer.",
)
@click.option(
    "--rooms", default=5, show_default=True, type=click.IntRange(1, 500), help="Rooms that they spam."
)
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="Of the server; 0 is any."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the server keeps everything. [a temporary directory]",
)
@click.option("--keep", is_flag=True, help="Leave the server running until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def demo(
    *,
    workers: int,
    messages: int,
    rooms: int,
    port: int,
    data_dir: Path | None,
    keep: bool,
    as_json: bool,
) -> None:
    """Redact all messages of a spammer, and prove that nothing readable is left.

    Starts a server of its own (PostgreSQL, a main process, workers that run the tasks), lets a
    spammer fill some rooms, bans them from one, redacts everything they sent, and reads every
    room back as another member. Progress is on standard error.
    """
    with ExitStack() as stack:
        path = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synapse-lite-demo-")))
        request = Request(
            data=DataDir(path.resolve()),
            server_name=None,
            port=port,
            workers=workers,
            config_paths=(),
            rate_limits=False,
        )
        _perform(request, Plan(rooms, messages), keep=keep, as_json=as_json)


def _perform(request: Request, plan: Plan, *, keep: bool, as_json: bool) -> None:
    started = time.monotonic()
    screen = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    stages = Stages(screen)
    reports: list[Report] = []
    log_file = request.data.path / "demo.log"

    def rehearse_and_report(ready: Ready) -> None:
        starting_stage.advance(len(ready.pids))
        starting.close()
        with stop_signals(_stop):
            cast = assemble_cast(ready, stages)
            report = rehearse(cast, plan, ready, request.worker_names, stages, started)
        reports.append(report)
        (print_json if as_json else print_text)(report)
        if keep:
            _explain(screen if as_json else Console(highlight=False, soft_wrap=True), cast, ready, log_file)
        else:
            screen.print("Stopping ...")
            signal.raise_signal(signal.SIGTERM)  # `run_site` takes it as the wish to end

    request.data.make()
    with _log_to(log_file), ExitStack() as starting:
        starting_stage = starting.enter_context(stages.stage("Starting processes", 1 + request.workers))
        run_site(request, rehearse_and_report)
    if not reports:
        raise StoppedError("stopped before the end")
    if reports[0].problems:
        raise DemoError("\n".join(reports[0].problems))


def _stop(asked: StopAsked) -> None:
    raise StoppedError(f"stopped by {asked.signal_name} before the end")


@contextmanager
def _log_to(file: Path) -> Iterator[None]:
    """What the processes say goes to the file; when they may be at fault, its end is shown."""
    try:
        with file.open("a", buffering=1, encoding="utf-8") as log, redirect_stderr(log):
            yield
    except (StoppedError, ConfigError):
        raise
    except Exception:
        with file.open(encoding="utf-8", errors="replace") as log:
            click.echo("".join(deque(log, _LAST_LINES)), err=True)
        raise


def _explain(console: Console, cast: Cast, ready: Ready, log_file: Path) -> None:
    admin = cast.admin
    console.print(f"\nThe server runs at [bold]{ready.base_url}[/] until Ctrl-C.")
    console.print(f"  admin       {escape(admin.user_id)}")
    console.print(f"  password    {escape(admin.password)}")
    console.print(f"  token       {escape(admin.access_token)}")
    console.print(f"  data        {escape(ready.data_dir)}")
    console.print(f"  log         {escape(str(log_file))}")
    console.print("\nRedact everything that the owner of the rooms has sent:")
    console.print(redact_example(ready.base_url, admin.access_token, cast.owner.user_id), markup=False)
