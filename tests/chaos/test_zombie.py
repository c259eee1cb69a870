"""The ledger has teeth: without the fence it shows what was done twice."""

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.ledger import Ledger
from tests.chaos.workers import Workers
from tests.chaos.zombie import ABILITIES, FIRST, ITEMS, LEASE, SECOND, wake_a_zombie


@pytest.mark.new_database
def test_the_fence_stops_a_zombie(database_arguments: dict[str, Any], tmp_path: Path) -> None:
    """While its transaction lasts nobody takes the task; afterwards nothing of it remains."""
    ledger = Ledger(database_arguments)
    ledger.create()
    with Workers(tmp_path, database_arguments, ABILITIES, lease=LEASE) as workers:
        task_id, was_open = wake_a_zombie(workers, ledger, patience=1.5)
        log = workers.log(FIRST)
    assert not was_open
    assert ledger.history(task_id)[1:] == [("claimed", FIRST), ("rescued", SECOND), ("complete", SECOND)]
    assert f"task {task_id} is no longer ours" in log
    verdict = ledger.count([task_id], ABILITIES)
    assert verdict.is_clean, verdict
    assert verdict.items == ITEMS


@pytest.mark.new_database
def test_without_the_fence_a_zombie_does_things_twice(
    database_arguments: dict[str, Any], tmp_path: Path
) -> None:
    """The control run: the same scene, in an engine that writes by the task's id alone, must fail."""
    ledger = Ledger(database_arguments)
    ledger.create()
    with Workers(tmp_path, database_arguments, ABILITIES, fenced=False, lease=LEASE) as workers:
        task_id, was_open = wake_a_zombie(workers, ledger, patience=300)
    assert was_open
    verdict = ledger.count([task_id], ABILITIES)
    assert verdict.duplicates > 0, verdict
    assert not verdict.is_clean
