"""Tests with programs of others, which are installed by the first test that needs them."""

from pathlib import Path

import pytest

_SECONDS = 3600  # an installation is part of the first test


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(_SECONDS))
