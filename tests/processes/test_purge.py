"""Purges whose workers and database processes are killed again and again; CHAOS_SEED repeats a run."""

import os
import sys
from collections.abc import Callable, Iterator
from random import SystemRandom

import pytest

from benchmarks.seed_room import Plan
from tests.chaos.faults import Faults
from tests.chaos.purge import TooFastError, purge_history, purge_room
from tests.chaos.scene import WORKERS, Scene, scene

ROOM = Plan(15_000, 150)
PAST = Plan(5_000, 40, state_every=3)
ATTEMPTS = 10


@pytest.fixture(scope="module")
def fallible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("purge")) as found:
        yield found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def write(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")

    return write


Purge = Callable[[Scene, Plan, Faults, int], str]


def purge(fallible: Scene, say: Callable[[str], None], purge_it: Purge, plan: Plan, count: int) -> None:
    """Again with another room when the purge was over too soon."""
    seed = int(os.environ.get("CHAOS_SEED") or SystemRandom().randrange(10**6))
    for attempt in range(ATTEMPTS):
        say(f"CHAOS_SEED={seed + attempt}")
        faults = Faults(fallible.site, fallible.session, WORKERS, seed + attempt)
        try:
            return say(purge_it(fallible, plan, faults, count))
        except TooFastError as error:
            say(str(error))
    raise TooFastError(f"{ATTEMPTS} purges were faster than the faults")


def test_a_room_is_purged_under_faults(fallible: Scene, say: Callable[[str], None]) -> None:
    """Nothing is left of the room, each member left once, and the other rooms are the same to the byte."""
    purge(fallible, say, purge_room, ROOM, 8)


def test_a_history_is_purged_under_faults(fallible: Scene, say: Callable[[str], None]) -> None:
    """What stays, what pages show and what was counted is as after a purge that nobody disturbed."""
    purge(fallible, say, purge_history, PAST, 6)
