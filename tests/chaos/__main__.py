"""The long form of the chaos, with a PostgreSQL of its own that restarts and crashes too.

    python -m tests.chaos --minutes 30

The exit code is 0 when every item of every task was done exactly once.
"""

# ruff: noqa: T201 (a program that prints)

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import SystemRandom

from synapse_lite.storage.migrate import migrate
from synapse_lite.workers.guardian import Guardian
from tests.chaos.crew import Crew
from tests.chaos.driver import ABILITIES, Chaos
from tests.chaos.ledger import Ledger, Verdict
from tests.chaos.postgres import FallibleDatabase

SETTLE_SECONDS = 300
REPORT_SECONDS = 30


def rage(directory: Path, seed: int, minutes: float, *, fenced: bool) -> Verdict:
    data = directory / "postgres"
    database = FallibleDatabase(data)
    stop_postgres = (sys.executable, "-m", "synapse_lite.workers.embedded_postgres", str(data))
    with ExitStack() as stack:
        guardian = Guardian(stop_postgres)
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
    parser.add_argument("--minutes", type=float, default=1.0, help="default: 1")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6), help="default: any")
    parser.add_argument(
        "--unfenced", action="store_true", help="without the fence: does the ledger show it? (exit code 1)"
    )
    options = parser.parse_args()
    print(f"CHAOS_SEED={options.seed}", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    directory.chmod(0o755)  # PostgreSQL is another user's
    verdict = rage(directory, options.seed, options.minutes, fenced=not options.unfenced)
    if verdict.is_clean:
        shutil.rmtree(directory)
        return 0
    print(f"unfinished: {verdict.unfinished}\nlost: {verdict.lost}\ntrespasses: {verdict.trespasses}")
    print(f"Logs and data are in {directory}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
