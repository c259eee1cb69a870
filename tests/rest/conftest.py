"""Servers for the tests of this directory."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from synapse_lite.storage.database import Database
from synapse_lite.storage.stream import Change
from tests.rest.home import OPEN, Home

BuildHome = Callable[..., Home]


@pytest.fixture
def build_home(database: Database, changes: list[Change]) -> Iterator[BuildHome]:
    """Makes servers from options; they stop with the test."""
    homes: list[Home] = []

    def build(**options: Any) -> Home:
        home = Home(database, changes, **options)
        home.passwords.start()
        homes.append(home)
        return home

    yield build
    for home in homes:
        home.passwords.stop()


@pytest.fixture
def home(build_home: BuildHome) -> Home:
    """A server on which anybody may register."""
    return build_home(**OPEN)
