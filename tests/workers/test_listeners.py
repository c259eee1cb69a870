"""Which routes a listener serves."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet import reactor

from synapse_lite.config.listeners import Listener
from synapse_lite.http.access import Access
from synapse_lite.http.router import Route
from synapse_lite.workers.listeners import Listeners, Probes, resources_of
from synapse_lite.workers.tls import TlsFiles
from tests.status import operations

METRICS = [
    {"type": "metrics", "port": 1},
    {"type": "http", "port": 1, "resources": [{"names": ["metrics"]}]},
]


@pytest.mark.parametrize("options", METRICS)
@pytest.mark.parametrize("enabled", [True, False])
def test_metrics_are_served_when_they_are_enabled(
    options: dict[str, Any], enabled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A listener for metrics alone is not enough, as in Synapse; the log says so. /health is always there."""
    registry: Any = CollectorRegistry()
    nothing: Any = None
    probes = Probes(reactor, nothing, registry)
    listeners = Listeners(
        reactor,
        [],
        [],
        nothing,
        probes,
        metrics=registry,
        clock=nothing,
        tls=TlsFiles(None, None),
        serves_metrics=enabled,
    )
    patterns = {route.pattern for route in listeners._served(Listener.model_validate(options))}
    assert "/health" in patterns
    assert ("/metrics" in patterns) == enabled
    assert ("enable_metrics is false" in caplog.text) != enabled


def test_a_media_worker_serves_the_administration_of_media() -> None:
    """Proxies that are set up by Synapse's documentation send it there, where nothing but media listens."""
    listed = operations((Path(__file__).parents[2] / "docs/operations.txt").read_text())
    nothing: Any = None
    for operation in listed["Admin API: Media"]:
        method, path = operation.split()
        assert resources_of(Route(method, path, nothing, Access.NONE)) == {"client", "media"}, operation
    for path in ("/_synapse/admin/v1/rooms/{room_id}/members", "/_synapse/admin/v2/users/{user_id}"):
        assert resources_of(Route("GET", path, nothing, Access.NONE)) == {"client"}
