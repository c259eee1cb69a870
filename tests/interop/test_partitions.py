"""Servers that are cut off from each other, killed, and at odds agree in the end."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from random import SystemRandom
from typing import Any

from tests.chaos.federation import federation
from tests.databases import new_database

SECONDS = 20
OURS = 3


def test_servers_agree_after_partitions(postgres: dict[str, Any], tmp_path: Path) -> None:
    """All have the same state of each room, and miss nothing; CHAOS_SEED repeats a run."""
    seed = int(os.environ.get("CHAOS_SEED") or SystemRandom().randrange(10**6))
    sys.stdout.write(f"CHAOS_SEED={seed}\n")
    with ExitStack() as stack:
        databases = [stack.enter_context(new_database(postgres, "site")) for _ in range(OURS)]
        servers = stack.enter_context(federation(tmp_path, databases, seed))
        servers.open_rooms()
        servers.run(SECONDS)
        servers.settle()
        sys.stdout.write(f"{servers}\n")
    assert servers.done["times cut"]
    assert servers.done["says"]
