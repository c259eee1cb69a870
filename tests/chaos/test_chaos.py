"""Processes of different abilities that are killed, frozen, cut off and not told, all the time."""

import os
import sys
from pathlib import Path
from random import SystemRandom
from typing import Any

import pytest

from tests.chaos.driver import ABILITIES, Chaos
from tests.chaos.ledger import Ledger
from tests.chaos.workers import Workers

BEATS = 50
SETTLE_SECONDS = 600


@pytest.mark.new_database
def test_chaos_short(database_arguments: dict[str, Any], tmp_path: Path) -> None:
    """Every item of every task is done exactly once, by a process that is able to; CHAOS_SEED repeats a run."""
    seed = int(os.environ.get("CHAOS_SEED") or SystemRandom().randrange(10**6))
    ledger = Ledger(database_arguments)
    ledger.create()
    with Workers(tmp_path, database_arguments, ABILITIES) as workers:
        chaos = Chaos(workers, ledger, seed)
        sys.stdout.write(f"CHAOS_SEED={seed}\n")
        chaos.run(range(BEATS))
        verdict = chaos.settle(SETTLE_SECONDS)
        sys.stdout.write(f"{chaos}\n{verdict}\n")
    assert verdict.is_clean, verdict
    assert verdict.tasks == len(chaos.asked) > BEATS
    assert min(chaos.done[fault] for fault in ("kills", "freezes", "cut connections", "lost wake-ups")) > 0
