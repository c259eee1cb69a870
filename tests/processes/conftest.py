"""A server of several processes for each module that asks."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from synapse_lite.ids import random_text
from tests.conftest import TEMPLATE, execute
from tests.processes.site import Site

BuildSite = Callable[..., Site]


@pytest.fixture(scope="module")
def build_site(postgres: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildSite]:
    """Makes sites, each with a database of its own; they end with the module."""
    sites: list[tuple[Site, str]] = []

    def build(*runners: str, **options: Any) -> Site:
        name = f"site_{random_text(8).lower()}"
        execute(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        database = {**postgres, "dbname": name}
        site = Site(tmp_path_factory.mktemp("site"), database, runners=runners, options=options)
        sites.append((site, name))
        return site

    yield build
    for site, name in sites:
        site.close()
        execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")
