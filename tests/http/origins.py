"""Other servers for tests: real sockets on loopback addresses, answers given byte by byte, and names that lie."""

# ruff: noqa: N802
# Twisted's names.

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IReactorPluggableNameResolver, IReactorTCP, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

Say = Callable[["Line", bytes], None]
"""Called with the connection and the request, once its head is complete."""


class Line(Protocol):
    """One connection to an origin."""

    transport: Any

    def __init__(self, origin: "Origin") -> None:
        self.origin = origin
        self._received = b""

    def connectionMade(self) -> None:
        self.origin.connections += 1
        self.origin.lines.append(self)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if b"\r\n\r\n" in self._received:
            request, self._received = self._received, b""
            self.origin.requests.append(request)
            if hasattr(self.transport, "getHandle") and hasattr(self.transport.getHandle(), "get_servername"):
                self.origin.names.append(self.transport.getHandle().get_servername())
            self.origin.say(self, request)

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def end(self) -> None:
        self.transport.loseConnection()

    def stream(self, chunk: bytes) -> None:
        """For ever, as fast as it is taken; `origin.sent` counts."""
        self.transport.registerProducer(_Endless(self, chunk), streaming=False)

    def connectionLost(self, *_: Any) -> None:
        self.origin.lost += 1
        self.origin.lines.remove(self)


class _Endless:
    def __init__(self, line: Line, chunk: bytes) -> None:
        self._line = line
        self._chunk = chunk

    def resumeProducing(self) -> None:
        self._line.origin.sent += len(self._chunk)
        self._line.send(self._chunk)

    def stopProducing(self) -> None:
        pass


class Origin:
    """A server that answers every request with `say`; started at once, ended by `stop`.

    With `tls` (a context factory of Twisted) it is of https; `names` are those that clients asked for, of each request.
    """

    def __init__(self, say: Say, host: str = "127.0.0.1", port: int = 0, tls: Any = None) -> None:
        self.say = say
        self.connections = 0
        self.lost = 0
        self.sent = 0
        self.requests: list[bytes] = []
        self.names: list[bytes | None] = []
        self.lines: list[Line] = []
        factory = Factory.forProtocol(lambda: Line(self))
        factory.noisy = False
        if tls is None:
            self._port = reactor.listenTCP(port, factory, interface=host)
        else:
            self._port = reactor.listenSSL(port, factory, tls, interface=host)
        self.host = host
        self.port = self._port.getHost().port

    def url(self, path: str = "/", host: str | None = None) -> str:
        return f"http://{host or self.host}:{self.port}{path}"

    async def stop(self) -> None:
        await self._port.stopListening()
        for line in list(self.lines):
            line.transport.abortConnection()


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def saying(data: bytes) -> Say:
    return lambda line, _: line.send(data)


@implementer(IReactorTCP, IReactorTime, IReactorPluggableNameResolver)
class LyingReactor:
    """The reactor, but with names of our own: each list of addresses is used up one resolution at a time."""

    def __init__(
        self, names: dict[str, Iterable[tuple[str, ...]]], ports: dict[tuple[str, int], int] | None = None
    ) -> None:
        """`ports`: those that the test has in place of others, by address."""
        self._names = {name: list(answers) for name, answers in names.items()}
        self._ports = ports or {}
        self.nameResolver = self

    def connectTCP(self, host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        return reactor.connectTCP(host, self._ports.get((host, port), port), *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def resolveHostName(self, receiver: Any, name: str, portNumber: int, **_: Any) -> Any:  # noqa: N803
        answers = self._names.get(name)
        if answers is None:
            return reactor.nameResolver.resolveHostName(receiver, name, portNumber)
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        receiver.resolutionBegan(None)
        for address in found:
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("TCP", address, portNumber))
        receiver.resolutionComplete()
        return None
