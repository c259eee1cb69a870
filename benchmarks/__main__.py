"""Measure synapse_lite beside Synapse, in turn, and write docs/performance.md.

    python -m benchmarks                       # everything, three rounds
    python -m benchmarks --quick --only ours   # while developing

Synapse is installed from PyPI at the first run.  docs/performance.md is written by a full run
of both servers; other runs print their table only, unless --report names a file.
"""

import argparse
import asyncio
import functools
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from benchmarks.bench import Bench, run_scenario
from benchmarks.candidate import candidate
from benchmarks.client import Metrics
from benchmarks.http import Http
from benchmarks.machine import Machine
from benchmarks.postgres import Postgres, postgres
from benchmarks.report import OURS, REFERENCE, Rounds, document, medians, terminal
from benchmarks.scenarios import SCENARIOS
from benchmarks.server import Server, Site
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.synapse import install, synapse

REPOSITORY = Path(__file__).resolve().parent.parent
BUILD = REPOSITORY / "build" / "bench"
REPORT = REPOSITORY / "docs" / "performance.md"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(SCENARIOS)
    parser.add_argument(
        "--scenario", nargs="+", choices=SCENARIOS, metavar="NAME", help=f"only these, of: {names}"
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work at all?")
    parser.add_argument("--only", choices=(OURS, REFERENCE), help="one server only")
    parser.add_argument(
        "--synapse-worker", action="store_true", help="Synapse with background1 (needs redis-server)"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures of all rounds here")
    parser.add_argument("--report", type=Path, metavar="OUT", help="write the report of any run here")
    parser.add_argument("--keep", action="store_true", help="keep the servers' directory with their logs")
    return parser.parse_args()


def build_servers(options: argparse.Namespace, directory: Path, database: Postgres) -> dict[str, Server]:
    servers = {}
    if options.only != REFERENCE:
        servers[OURS] = candidate(Site.create(directory, "synapse_lite", database))
    if options.only != OURS:
        site = Site.create(directory, "synapse", database)
        servers[REFERENCE] = synapse(site, install(BUILD), options.synapse_worker)
    return servers


async def measure(
    servers: dict[str, Server],
    sizes: Sizes,
    names: list[str],
    rounds: int,
    note: Callable[[Mapping[str, Rounds]], None],
) -> Mapping[str, Rounds]:
    """All scenarios on all servers in turn: figures by scenario, side and round; `note` gets those there are
    after each scenario, so that a run that is ended keeps what it measured.
    """
    results: dict[str, dict[str, list[Metrics]]] = {}
    async with AsyncExitStack() as stack:
        benches = {}
        for side, server in servers.items():
            http = await stack.enter_async_context(Http(server.base_url))
            beside = [other for other in servers.values() if other is not server]
            benches[side] = Bench(server, http, sizes, beside)
        for number in range(1, rounds + 1):
            for name in names:
                for side, bench in benches.items():
                    metrics = await run_scenario(bench, SCENARIOS[name])
                    results.setdefault(name, {}).setdefault(side, []).append(metrics)
                    figures = "  ".join(f"{key}={value:.4g}" for key, value in metrics.items())
                    print(f"{number}  {name:14}  {side:7}  {figures}", flush=True)
                note(results)
    return results


def run(options: argparse.Namespace) -> bool:
    """True when no scenario failed.  Whatever happens, nothing is left running."""
    BUILD.mkdir(parents=True, exist_ok=True)
    names = options.scenario or list(SCENARIOS)
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="bench-"))
        if options.keep:
            stack.callback(print, f"Logs are in {directory}")
        else:
            stack.callback(shutil.rmtree, directory)
        database = stack.enter_context(postgres(directory / "postgres"))
        servers = build_servers(options, directory, database)
        for server in servers.values():
            stack.callback(server.stop)
            server.start()
        machine = Machine.inspect([server.title for server in servers.values()], database.version())
        sizes = QUICK if options.quick else FULL
        note = functools.partial(write, options, machine)
        results = asyncio.run(measure(servers, sizes, names, options.rounds, note))
    print(terminal(results))
    if not (options.quick or options.only or options.scenario or options.report):
        write_report(REPORT, options, machine, results)
    return not any("failed" in m for sides in results.values() for rounds in sides.values() for m in rounds)


def write(options: argparse.Namespace, machine: Machine, results: Mapping[str, Rounds]) -> None:
    """The files that were asked for."""
    if options.json:
        middle = {name: {side: medians(r) for side, r in sides.items()} for name, sides in results.items()}
        content = {"machine": dict(machine.facts()), "medians": middle, "rounds": results}
        options.json.write_text(json.dumps(content, indent=1))
    if options.report:
        write_report(options.report, options, machine, results)


def write_report(
    report: Path, options: argparse.Namespace, machine: Machine, results: Mapping[str, Rounds]
) -> None:
    report.write_text(document(results, SCENARIOS, machine, command_line(options), options.rounds))


def command_line(options: argparse.Namespace) -> str:
    """The options that change the figures."""
    words = ["python", "-m", "benchmarks", "--rounds", str(options.rounds)]
    words += ["--quick"] * options.quick + ["--synapse-worker"] * options.synapse_worker
    words += ["--only", options.only] if options.only else []
    words += ["--scenario", *options.scenario] if options.scenario else []
    return " ".join(words)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(0 if run(parse_arguments()) else 1)
