"""A site without a socket, and a clock that tests move."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import attrs
from prometheus_client import CollectorRegistry
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock as TwistedClock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.server import Site

from synapse_lite.http.metrics import HttpMetrics
from synapse_lite.http.router import Route, Router
from synapse_lite.http.site import build_site

PEER = "192.0.2.1"


class ManualClock:
    def __init__(self) -> None:
        self.reactor = TwistedClock()

    def now_ms(self) -> int:
        return round(self.reactor.seconds() * 1000)

    def call_later(self, seconds: float, function: Callable[..., Any], *args: Any) -> IDelayedCall:
        return self.reactor.callLater(seconds, function, *args)

    def sleep(self, seconds: float) -> "Deferred[None]":
        waiting: Deferred[None] = Deferred()
        self.call_later(seconds, waiting.callback, None)
        return waiting

    def advance(self, seconds: float) -> None:
        self.reactor.advance(seconds)


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def site(
    routes: Iterable[Route],
    *,
    clock: ManualClock | None = None,
    registry: CollectorRegistry | None = None,
    max_body_size: int = 1000,
    x_forwarded: bool = False,
) -> Site:
    return build_site(
        Router(routes),
        max_body_size=max_body_size,
        x_forwarded=x_forwarded,
        clock=clock or ManualClock(),
        metrics=HttpMetrics(registry or CollectorRegistry()),
    )


class Connection:
    """One client's connection to a site."""

    def __init__(self, server: Site) -> None:
        peer = IPv4Address("TCP", PEER, 4711)
        self.transport = StringTransport(peerAddress=peer)
        self._protocol = server.buildProtocol(peer)
        self._protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        self._protocol.dataReceived(data)

    def lose(self) -> None:
        self._protocol.connectionLost(Failure(ConnectionDone()))

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        fields = {"Host": "test", **(headers or {})}
        if body:
            fields["Content-Length"] = str(len(body))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def answer(self) -> Answer:
        """The one answer so far; `AssertionError` when there is none."""
        data = self.transport.value()
        self.transport.clear()
        head, found, body = data.partition(b"\r\n\r\n")
        assert found, "no answer yet"
        status, *lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        return Answer(int(status.split()[1]), fields, body)


def fetch(
    server: Site, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Answer:
    """For handlers that answer at once."""
    connection = Connection(server)
    connection.request(method, path, body, headers)
    return connection.answer()
