"""The long form of the chaos, with a PostgreSQL of its own that restarts and crashes too.

    python -m tests.chaos --minutes 30
    python -m tests.chaos --purge 50

The exit code is 0 when every item of every task was done exactly once; with `--purge`, when nothing was
left of a room, and of a history what had to stay, after so many blows each.
"""

# ruff: noqa: T201 (a program that prints)

import argparse
import itertools
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import SystemRandom

from benchmarks.seed_room import Plan
from synapse_lite.storage.migrate import migrate
from synapse_lite.workers.guardian import Guardian
from tests.chaos.blows import Blows
from tests.chaos.crew import Crew
from tests.chaos.driver import ABILITIES, Chaos
from tests.chaos.ledger import Ledger, Verdict
from tests.chaos.postgres import FallibleDatabase
from tests.chaos.purge import WORKERS, purge_history, purge_room, scene

SETTLE_SECONDS = 300
REPORT_SECONDS = 30
ROOM = Plan(180_000, 2_000)
PAST = Plan(50_000, 200, state_every=3)


def rage(directory: Path, seed: int, minutes: float, *, fenced: bool) -> Verdict:
    database = FallibleDatabase(directory / "postgres")
    with ExitStack() as stack:
        guardian = Guardian(database.stop_command)
        arguments = database.start()
        stack.callback(database.stop)
        crew = stack.enter_context(Crew(directory, arguments, ABILITIES, fenced, guardian))
        migrate(arguments)
        ledger = Ledger(arguments)
        ledger.create()
        chaos = Chaos(crew, ledger, seed, database.restart)
        chaos.run(report(chaos, minutes * 60))
        verdict = chaos.settle(SETTLE_SECONDS)
    print(f"{chaos}\n{verdict}", flush=True)
    return verdict


def purge(directory: Path, seed: int, count: int) -> None:
    """AssertionError when something is wrong with what is left."""
    with scene(directory) as found:
        for purge_it, plan in ((purge_room, ROOM), (purge_history, PAST)):
            blows = Blows(found.site, found.session, WORKERS, seed)
            print(purge_it(found, plan, blows, count), flush=True)


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
    wanted.add_argument("--purge", type=int, metavar="BLOWS", help="strike two purges instead")
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
    verdict = rage(directory, options.seed, options.minutes, fenced=not options.unfenced)
    if not verdict.is_clean:
        print(f"unfinished: {verdict.unfinished}\nlost: {verdict.lost}\ntrespasses: {verdict.trespasses}")
    return verdict.is_clean


if __name__ == "__main__":
    sys.exit(main())
