"""The statements of the engine under any interleaving of processes that work, freeze, die and return."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    run_state_machine_as_test,
)

from tests.tasks.engine_rules import Engine

EXAMPLES = 20


@pytest.mark.new_database
def test_no_interleaving_breaks_the_engine(
    database_arguments: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """One owner at a time, every item once, nothing left that can run, ended tasks untouched."""
    asked: int | None = request.config.getoption("--examples")
    bounds = settings(
        max_examples=asked or EXAMPLES,
        stateful_step_count=100,
        deadline=None,
        derandomize=asked is None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lambda: Engine(database_arguments), settings=bounds)
