"""Tests with programs of others, which are installed by the first test that needs them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from synapse_lite.cli.data_dir import DataDir
from tests.interop.synapse import Synapse
from tests.processes.harness import Server

_SECONDS = 3600  # an installation is part of the first test
_SERVER_NAME = "synapse.test"
OPTIONS = {
    "enable_registration": True,
    "enable_registration_without_verification": True,
    "allow_guest_access": True,
    "turn_uris": ["turn:turn.test"],
    "turn_shared_secret": "a secret",
    "experimental_features": {"msc3814_enabled": True},
}
"""Of both servers whose answers are compared."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(_SECONDS))


@pytest.fixture(scope="session")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    """One for all scenarios: each has users of its own."""
    directory = tmp_path_factory.mktemp("synapse")
    with Synapse(directory, server_name=_SERVER_NAME, options=OPTIONS) as synapse:
        yield synapse


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all scenarios, as configured as `synapse`."""
    directory = tmp_path_factory.mktemp("server")
    configured(directory)
    with Server(directory) as server:
        yield server


def configured(directory: Path, options: Mapping[str, Any] = OPTIONS) -> None:
    """Lay down the configuration that a `Server` in the directory starts with."""
    data = DataDir(directory / "data")
    data.make()
    data.write_homeserver_file(_SERVER_NAME)
    with data.homeserver_file.open("a") as file:
        file.write(yaml.safe_dump(dict(options)))
