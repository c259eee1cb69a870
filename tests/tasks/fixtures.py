"""One database for all tests of a module: emptied between them, which takes less time than a new one."""

from collections.abc import Iterator
from typing import Any

import pytest

from synapse_lite.ids import random_text
from tests.conftest import TEMPLATE, execute


@pytest.fixture(scope="module")
def task_database_arguments(postgres: dict[str, Any]) -> Iterator[dict[str, Any]]:
    name = f"test_{random_text(8).lower()}"
    execute(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield {**postgres, "dbname": name}
    execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_arguments(task_database_arguments: dict[str, Any]) -> dict[str, Any]:
    """Connection arguments of a database without tasks and runners."""
    execute(
        task_database_arguments,
        "DELETE FROM scheduled_tasks; DELETE FROM task_runners; DELETE FROM task_actions_seen;"
        "DELETE FROM task_controls; DELETE FROM task_duties",
    )
    return task_database_arguments
