"""Tasks of every kind, whose workers are killed again and again; CHAOS_SEED repeats a run."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

import pytest

from tests.chaos.kills import CONCURRENCY, WORKERS, Kills
from tests.chaos.kinds import KINDS, MEDIA_KINDS, Kind, actions_without_a_kind
from tests.chaos.scene import scene
from tests.chaos.stage import Stage

STRIKES = 1
MEDIA_STRIKES = 4


def test_every_task_has_a_kind() -> None:
    """What can be asked for has a subject, and an outcome that is compared."""
    assert actions_without_a_kind() == set()


def test_tasks_survive_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is struck in the middle of steps, and its outcome is the same as if nothing had been: to the row."""
    survive(tmp_path, capsys, KINDS, STRIKES)


def test_media_survive_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So it is with what is taken back, with copies of others' media, and with files on the disk: to the file."""
    survive(tmp_path, capsys, MEDIA_KINDS, MEDIA_STRIKES)


def survive(directory: Path, capsys: pytest.CaptureFixture[str], kinds: Sequence[Kind], strikes: int) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or SystemRandom().randrange(10**6))
    rounds: list[str] = []
    with scene(directory, WORKERS, CONCURRENCY) as found:
        summary = Kills(found, Stage.of(found), seed, rounds.append).run(kinds, strikes)
    with capsys.disabled():
        sys.stdout.write(f"\nCHAOS_SEED={seed}\n{summary}\n")
