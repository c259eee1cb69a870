"""A site without a socket, and a clock that tests move."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock as TwistedClock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from synapse_lite.http.access import Access, Authenticator
from synapse_lite.http.metrics import HttpMetrics
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, Router
from synapse_lite.http.site import Site, build_site

PEER = "192.0.2.1"


class ManualClock:
    def __init__(self) -> None:
        self.reactor = TwistedClock()
        self._step = 0.0

    def now_ms(self) -> int:
        return round((self.reactor.seconds() + self._step) * 1000)

    def monotonic(self) -> float:
        return self.reactor.seconds()

    def step(self, seconds: float) -> None:
        """Somebody sets the wall clock; timers do not notice."""
        self._step += seconds

    def call_later(self, seconds: float, function: Callable[..., Any], *args: Any) -> IDelayedCall:
        """What is to be done in the next turn is done then: that is no time."""
        chosen = self.reactor if seconds > 0 else reactor
        return chosen.callLater(seconds, function, *args)  # type: ignore[attr-defined]

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


class NoAccounts:
    """For routes that anybody may use."""

    async def authenticate(self, request: Request, access: Access) -> Any:
        raise AssertionError(f"{request.path} asks for {access}")


def site(
    routes: Iterable[Route],
    authenticator: Authenticator | None = None,
    *,
    clock: ManualClock | None = None,
    registry: CollectorRegistry | None = None,
    x_forwarded: bool = False,
) -> Site:
    return build_site(
        Router(routes),
        authenticator or NoAccounts(),
        x_forwarded=x_forwarded,
        clock=clock or ManualClock(),
        metrics=HttpMetrics(registry or CollectorRegistry()),
    )


class Transport(StringTransport):
    """Tells of what is written to it."""

    def __init__(self, peer: IPv4Address) -> None:
        super().__init__(peerAddress=peer)
        self.on_write: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        super().write(data)
        self.on_write()

    def writeSequence(self, data: Iterable[bytes]) -> None:  # noqa: N802 (Twisted's name)
        self.write(b"".join(data))


class Connection:
    """One client's connection to a site."""

    def __init__(self, server: Site) -> None:
        peer = IPv4Address("TCP", PEER, 4711)
        self.transport = Transport(peer)
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
        assert len(fields) == len(lines), f"a header comes twice: {lines}"
        is_chunked = fields.get("Transfer-Encoding") == "chunked"
        return Answer(int(status.split()[1]), fields, b"".join(_chunks(body)) if is_chunked else body)


def _chunks(body: bytes) -> Iterator[bytes]:
    """Of a body with `Transfer-Encoding: chunked`, which must be whole."""
    while True:
        size, found, rest = body.partition(b"\r\n")
        assert found, "the last chunk is missing"
        length = int(size, 16)
        if length == 0:
            return
        yield rest[:length]
        body = rest[length + 2 :]


def fetch(
    server: Site, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Answer:
    """For handlers that answer at once."""
    connection = Connection(server)
    connection.request(method, path, body, headers)
    return connection.answer()
