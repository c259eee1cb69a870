"""A server of several processes for each module that asks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.databases import new_database
from tests.processes.site import Site

BuildSite = Callable[..., Site]


@contextmanager
def sites(postgres: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildSite]:
    """Makes sites, each with a database of its own, until the end of the block."""
    with ExitStack() as stack:

        def build(*runners: str, listeners: Sequence[Mapping[str, Any]] = (), **options: Any) -> Site:
            database = stack.enter_context(new_database(postgres, "site"))
            directory = tmp_path_factory.mktemp("site")
            site = Site(directory, database, runners=runners, options=options, listeners=listeners)
            stack.callback(site.close)
            return site

        yield build


@pytest.fixture(scope="module")
def build_site(postgres: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildSite]:
    """As `sites`, which end with the module."""
    with sites(postgres, tmp_path_factory) as build:
        yield build
