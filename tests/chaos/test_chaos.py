"""Processes of different abilities that are killed, frozen, cut off and not told, all the time."""

import os
import sys
from pathlib import Path
from random import SystemRandom
from typing import Any

import pytest

from tests.chaos.crew import Crew
from tests.chaos.driver import ABILITIES, Chaos
from tests.chaos.ledger import Ledger

BEATS = 50
SETTLE_SECONDS = 60


def test_chaos_short(
    database_arguments: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every item of every task is done exactly once, by a process that is able to; CHAOS_SEED repeats a run."""
    seed = int(os.environ.get("CHAOS_SEED") or SystemRandom().randrange(10**6))
    ledger = Ledger(database_arguments)
    ledger.create()
    with Crew(tmp_path, database_arguments, ABILITIES) as crew:
        chaos = Chaos(crew, ledger, seed)
        with capsys.disabled():
            sys.stdout.write(f"\nCHAOS_SEED={seed}\n")
        chaos.run(range(BEATS))
        verdict = chaos.settle(SETTLE_SECONDS)
        with capsys.disabled():
            sys.stdout.write(f"{chaos}\n{verdict}\n")
    assert verdict.is_clean, verdict
    assert verdict.tasks == len(chaos.asked) > BEATS
    assert min(chaos.done[blow] for blow in ("kills", "freezes", "cut connections", "lost wake-ups")) > 0
