"""The long form of the chaos, with a PostgreSQL of its own that restarts and crashes too.

    python -m tests.chaos --minutes 30
    python -m tests.chaos --purge 50
    python -m tests.chaos --kills 50
    python -m tests.chaos --media 50
    python -m tests.chaos --federation 10

The exit code is 0 when every item of every task was done exactly once; with `--purge`, when nothing was
left of a room, and of a history what had to stay, after so many faults each; with `--kills` and `--media`, when
the outcome of tasks of every kind, or of more of those about media, was exact although each was struck so often;
with `--federation`, when three servers of ours and a Synapse agreed on every room after so many minutes of partitions,
kills and quarrels.
"""

# ruff: noqa: T201 (a program that prints)

import argparse
import itertools
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import SystemRandom

from benchmarks.seed_room import Plan
from synapse_lite.storage.migrate import migrate
from synapse_lite.workers.guardian import Guardian
from tests.chaos.driver import ABILITIES, Chaos
from tests.chaos.faults import Faults
from tests.chaos.federation import federation
from tests.chaos.kills import CONCURRENCY, Kills
from tests.chaos.kills import WORKERS as KILLED
from tests.chaos.kinds import KINDS, MEDIA_KINDS, Kind
from tests.chaos.ledger import Ledger, Verdict
from tests.chaos.postgres import FallibleDatabase
from tests.chaos.purge import purge_history, purge_room
from tests.chaos.scene import WORKERS, scene
from tests.chaos.stage import Stage
from tests.chaos.workers import Workers
from tests.databases import make_template, new_database

SETTLE_SECONDS = 300
REPORT_SECONDS = 30
ROOM = Plan(180_000, 2_000)
PAST = Plan(50_000, 200, state_every=3)


def run_chaos(directory: Path, seed: int, minutes: float, *, fenced: bool) -> Verdict:
    database = FallibleDatabase(directory / "postgres")
    with ExitStack() as stack:
        guardian = Guardian(database.stop_command)
        arguments = database.start()
        stack.callback(database.stop)
        workers = stack.enter_context(Workers(directory, arguments, ABILITIES, fenced, guardian))
        migrate(arguments)
        ledger = Ledger(arguments)
        ledger.create()
        chaos = Chaos(workers, ledger, seed, database.restart)
        chaos.run(report(chaos, minutes * 60))
        verdict = chaos.settle(SETTLE_SECONDS)
    print(f"{chaos}\n{verdict}", flush=True)
    return verdict


def purge(directory: Path, seed: int, count: int) -> None:
    """AssertionError when something is wrong with what is left."""
    with scene(directory) as found:
        for purge_it, plan in ((purge_room, ROOM), (purge_history, PAST)):
            faults = Faults(found.site, found.session, WORKERS, seed)
            print(purge_it(found, plan, faults, count), flush=True)


def kill(directory: Path, seed: int, kinds: Sequence[Kind], count: int) -> None:
    """AssertionError when an outcome is another than without kills."""
    with scene(directory, KILLED, CONCURRENCY) as found:
        tell = partial(print, flush=True)
        tell(Kills(found, Stage.of(found), seed, tell).run(kinds, count))


def federate(directory: Path, seed: int, minutes: float) -> None:
    """AssertionError when the servers do not agree."""
    database = FallibleDatabase(directory / "postgres")
    with ExitStack() as stack:
        arguments = database.start()
        stack.callback(database.stop)
        make_template(arguments)
        databases = [stack.enter_context(new_database(arguments, "site")) for _ in range(3)]
        servers = stack.enter_context(federation(directory, databases, seed))
        servers.open_rooms()
        servers.run(minutes * 60)
        print(f"rooms: {servers.rooms}; {servers}", flush=True)
        servers.settle()
        print(f"all agree: {servers}", flush=True)


def report(chaos: Chaos, seconds: float) -> Iterator[int]:
    """Beats for so long, and a line now and then."""
    began = reported = time.monotonic()
    for beat in itertools.count():
        now = time.monotonic()
        if now - began >= seconds:
            return
        if now - reported >= REPORT_SECONDS:
            reported = now
            print(f"{now - began:5.0f} s  {len(chaos.asked)} tasks asked for, {chaos}", flush=True)
        yield beat


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--minutes", type=float, default=1.0, help="default: 1")
    wanted.add_argument("--purge", type=int, metavar="FAULTS", help="inject faults into two purges instead")
    wanted.add_argument(
        "--kills", type=int, metavar="STRIKES", help="kill workers in steps of every kind instead"
    )
    wanted.add_argument("--media", type=int, metavar="STRIKES", help="the same for more tasks about media")
    wanted.add_argument(
        "--federation", type=float, metavar="MINUTES", help="servers that federate, among them a Synapse"
    )
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6), help="default: any")
    parser.add_argument(
        "--unfenced", action="store_true", help="without the fence: does the ledger show it? (exit code 1)"
    )
    options = parser.parse_args()
    print(f"CHAOS_SEED={options.seed}", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    directory.chmod(0o755)  # PostgreSQL is another user's
    try:
        is_clean = _run(directory, options)
    except AssertionError:
        traceback.print_exc()
        is_clean = False
    if is_clean:
        shutil.rmtree(directory)
    else:
        print(f"Logs and data are in {directory}")
    return 0 if is_clean else 1


def _run(directory: Path, options: argparse.Namespace) -> bool:
    if options.purge is not None:
        purge(directory, options.seed, options.purge)
        return True
    if options.federation is not None:
        federate(directory, options.seed, options.federation)
        return True
    if options.kills is not None:
        kill(directory, options.seed, KINDS, options.kills)
        return True
    if options.media is not None:
        kill(directory, options.seed, MEDIA_KINDS, options.media)
        return True
    verdict = run_chaos(directory, options.seed, options.minutes, fenced=not options.unfenced)
    if not verdict.is_clean:
        print(f"unfinished: {verdict.unfinished}\nlost: {verdict.lost}\ntrespasses: {verdict.trespasses}")
    return verdict.is_clean


if __name__ == "__main__":
    sys.exit(main())
