"""Every task that somebody may ask for, killed again and again at whatever statement: its outcome is exact.

KILLS=50 kills each so often; the long chaos does the same to real processes (`python -m tests.chaos --kills 50`).
"""

import os
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from synapse_lite.clock import ReactorClock
from synapse_lite.storage.database import Database
from synapse_lite.storage.session import Session
from synapse_lite.storage.tasks import Status
from synapse_lite.tasks.actions.rebuild import REBUILD
from tests.builders import World
from tests.chaos.kinds import KINDS, Kind
from tests.chaos.stage import Stage
from tests.processes.site import SERVER
from tests.tasks.killing import burning, start
from tests.tasks.steps import Steps

KILLS = int(os.environ.get("KILLS") or 10)


def kinds() -> list[Kind]:
    """All but what waits for a follower, which does not run here."""
    return [kind for kind in KINDS if kind.action != REBUILD.action]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.action)
@ensureDeferred
async def test_the_outcome_is_exact(
    kind: Kind,
    database: Database,
    database_arguments: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the row: nothing is done twice, nothing is left out, nobody else is touched."""
    clock: Any = ReactorClock(reactor)
    session = Session(database_arguments, {})
    subject = kind.seed(Stage(session, World(clock, server_name=SERVER), tmp_path))
    processes = await start(Steps(database, clock, SERVER), burning(monkeypatch), KILLS)
    task = await processes.run(subject.spec, subject.params)
    found = session.read(subject.read)
    session.close()
    assert (task.status, task.error) == (Status.COMPLETE, None)
    assert found == subject.expected
    assert subject.result is None or task.result == subject.result
    assert processes.kills == KILLS
