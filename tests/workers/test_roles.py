"""What follows from the configuration of a process about what it does."""

from typing import Any

import pytest

from synapse_lite.config.model import Config
from synapse_lite.workers.roles import Role


@pytest.mark.parametrize(
    ("listeners", "serves"),
    [
        ([], False),
        ([{"type": "http", "port": 1}], False),
        ([{"type": "metrics", "port": 1}], False),
        ([{"type": "http", "port": 1, "resources": [{"names": ["health"]}, {"names": ["client"]}]}], True),
    ],
)
def test_who_serves_clients(listeners: list[dict[str, Any]], serves: bool) -> None:
    config = Config.model_validate(
        {
            "server_name": "hs.test",
            "database": {"name": "psycopg2", "args": {}},
            "worker_app": "synapse_lite",
            "worker_name": "w1",
            "worker_listeners": listeners,
        }
    )
    assert Role.of(config).serves_clients is serves
