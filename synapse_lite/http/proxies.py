"""Proxies between this server and others (`http_proxy`, `https_proxy`): whom they are for, and the way through one."""

# mypy: allow-untyped-calls
# Twisted types its endpoints in part only.

import re
from base64 import b64encode
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from synapse_lite.errors import SynapseLiteError

DEFAULT_PORT = 1080
MAX_HEAD = 16 * 1024
_GRANTED = re.compile(rb"HTTP/1\.[01] 2\d\d\b")
_END = b"\r\n\r\n"


class ProxyError(SynapseLiteError):
    """The proxy does not let a connection through."""


@frozen
class Proxy:
    """`authorization`: what a header tells it of who asks."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> "Proxy":
        """`[http://][user:password@]host[:port]`. Raises ValueError."""
        parts = urlsplit(text if "://" in text else f"http://{text}")
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError("should be http://host:port, with user:password@ before the host if need be")
        authorization = None
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = f"Basic {b64encode(user.encode()).decode()}"
        return cls(parts.hostname, parts.port or DEFAULT_PORT, authorization)


@frozen
class Proxies:
    """By scheme of the URL. `direct`: hosts, domains (`.example.com`, `*.example.com`) and address ranges that are reached without one; `*`: all."""

    http: Proxy | None = None
    https: Proxy | None = None
    direct: Sequence[str] = ()

    def of(self, scheme: str, host: str) -> Proxy | None:
        proxy = self.https if scheme == "https" else self.http
        return None if proxy is None or any(_covers(one, host) for one in self.direct) else proxy


NONE = Proxies()


def _covers(rule: str, host: str) -> bool:
    try:
        return ip_address(host.strip("[]")) in ip_network(rule, strict=False)
    except ValueError:
        name = rule.lower().removeprefix("*").removeprefix(".")
        return not name or host.lower() == name or host.lower().endswith(f".{name}")


@implementer(IStreamClientEndpoint)
class TunnelEndpoint:
    """Connects to `host` by a CONNECT of the proxy that `endpoint` leads to (RFC 9110, section 9.3.6)."""

    def __init__(self, endpoint: Any, proxy: Proxy, host: str, port: int) -> None:
        self._endpoint = endpoint
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        if proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        self._request = "\r\n".join((*lines, "", "")).encode("ascii")

    def connect(self, factory: "Factory[Any]") -> "Deferred[Any]":
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: "Factory[Any]") -> Any:
        asking = Factory.forProtocol(lambda: _Asking(self._request))
        asking.noisy = False
        line = await self._endpoint.connect(asking)
        try:
            await line.granted
        except BaseException:
            line.transport.abortConnection()
            raise
        return line.hand_over(factory)


class _Asking(Protocol):
    """The connection until the proxy has granted it."""

    transport: Any

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self.granted: Deferred[None] = Deferred()

    def connectionMade(self) -> None:  # noqa: N802
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._received += data
        head, end, rest = self._received.partition(_END)
        if self.granted.called or not (end or len(self._received) > MAX_HEAD):
            return
        if end and not rest and _GRANTED.match(head):
            self.granted.callback(None)
        else:
            status = head[:80].partition(b"\r\n")[0].decode("ascii", "replace")
            self.granted.errback(ProxyError(f"the proxy answers {status!r}"))

    def connectionLost(self, *_: Any) -> None:  # noqa: N802
        if not self.granted.called:
            self.granted.errback(ProxyError("the proxy closed the connection"))

    def hand_over(self, factory: "Factory[Any]") -> Any:
        """What comes from now on is the other side's."""
        peer: IAddress = self.transport.getPeer()
        protocol: Any = factory.buildProtocol(peer)
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        return protocol
