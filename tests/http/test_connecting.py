"""How many connections are being made at the same time."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from synapse_lite.http import connections
from synapse_lite.http.connections import CONNECTING, Connector, Origin, Route


def test_a_thousand_servers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message to a room of many servers takes no more sockets, and handshakes, than so many at a time; each has its turn."""
    waiting: list[Deferred[str]] = []
    most = 0

    class Slow:
        def __init__(self, *_target: object) -> None:
            """It never answers by itself."""

        def connect(self, _factory: object) -> "Deferred[str]":
            nonlocal most
            waiting.append(Deferred())
            most = max(most, len(waiting))
            return waiting[-1]

    monkeypatch.setattr(connections, "HostnameEndpoint", Slow)
    nothing: Any = None
    connector = Connector(nothing, nothing, nothing)
    made = []
    for number in range(1000):
        host = f"s{number}.test"
        origin = Origin("http", host, 80, Route(((host, 80),)))
        made.append(Deferred.fromCoroutine(connector.connect(origin, nothing)))
    while waiting:
        waiting.pop(0).callback("connected")
    assert [one.result for one in made] == ["connected"] * 1000
    assert most == CONNECTING
