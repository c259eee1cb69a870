"""Which routes a listener serves."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet import reactor

from synapse_lite.config.listeners import Listener
from synapse_lite.workers.listeners import Listeners, Probes
from synapse_lite.workers.tls import TlsFiles

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
