"""Requests by way of a proxy: real sockets, and a proxy that knows names of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate

from synapse_lite.clock import ReactorClock
from synapse_lite.config.load import load
from synapse_lite.errors import ConfigError
from synapse_lite.http.addresses import AddressPolicy
from synapse_lite.http.client import AddressDeniedError, HttpClient, RequestError
from synapse_lite.http.proxies import Proxies, Proxy
from synapse_lite.http.tls import Certificates
from tests.config.files import SMALL
from tests.federation.test_client import ROOT, origin
from tests.http.origins import Line, Origin, answer, saying

USER = "Basic dXNlcjpwYXNz"
DENIED = AddressPolicy(tuple(map(ip_network, ("127.0.0.0/8", "10.0.0.0/8"))), ())


class _FarSide(Protocol):
    def __init__(self, line: Line) -> None:
        self._line = line

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self._line.send(data)


class ProxyServer(Origin):
    """Leads every tunnel to the port `to`, and answers what it is asked itself."""

    def __init__(self, to: int = 0) -> None:
        self.to = to
        super().__init__(self._say)

    def _say(self, line: Line, request: bytes) -> None:
        if not request.startswith(b"CONNECT"):
            line.send(answer(b"by proxy"))
            return

        def lead(far: Any) -> None:
            line.dataReceived = far.transport.write  # type: ignore[method-assign]
            line.send(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n")

        connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.to), _FarSide(line)).addCallback(lead)


@asynccontextmanager
async def proxy(to: int = 0) -> AsyncIterator[ProxyServer]:
    server = ProxyServer(to)
    try:
        yield server
    finally:
        await server.stop()


def client(port: int, direct: tuple[str, ...] = (), **options: Any) -> HttpClient:
    one = Proxy("127.0.0.1", port, USER)
    tls: Any = Certificates([Certificate.loadPEM(ROOT.pem.encode())], verifies=lambda _: True)
    clock = ReactorClock(reactor)  # type: ignore[arg-type]
    return HttpClient(
        reactor, clock, DENIED, user_agent="tests", tls=tls, proxies=Proxies(one, one, direct), **options
    )


async def get(asking: HttpClient, url: str, **options: Any) -> bytes:
    async with asking.request("GET", url, timeout=20, **options) as reply:
        return await reply.read(1000)


@ensureDeferred
async def test_a_tunnel() -> None:
    """The proxy is told host and port and who asks; TLS is with the other side, whose certificate is checked."""
    async with origin("far.test", saying(answer(b"far"))) as far, proxy(far.port) as way:
        asking = client(way.port)
        assert await get(asking, "https://far.test:8448/x") == b"far"
        assert (
            way.requests[0]
            == (
                f"CONNECT far.test:8448 HTTP/1.1\r\nHost: far.test:8448\r\nProxy-Authorization: {USER}\r\n\r\n"
            ).encode()
        )
        assert far.requests[0].startswith(b"GET /x HTTP/1.1\r\n")
        assert b"Proxy-Authorization" not in far.requests[0]
        assert far.names == [b"far.test"]
        with pytest.raises(RequestError, match="certificate"):
            await get(asking, "https://other.test/")


@ensureDeferred
async def test_connections_through_a_tunnel_are_kept() -> None:
    async with origin("far.test", saying(answer(b"far"))) as far, proxy(far.port) as way:
        asking = client(way.port, persistent=True)
        for _ in range(3):
            assert await get(asking, "https://far.test/") == b"far"
        assert (way.connections, far.connections) == (1, 1)
        await asking.stop()


@ensureDeferred
async def test_http_is_asked_of_the_proxy() -> None:
    """By the whole URL; it finds out where the name leads."""
    async with proxy() as way:
        assert await get(client(way.port), "http://far.test:81/x?y") == b"by proxy"
        assert way.requests[0].startswith(b"GET http://far.test:81/x?y HTTP/1.1\r\n")
        assert f"Proxy-Authorization: {USER}\r\n".encode() in way.requests[0]
        assert b"Host: far.test:81\r\n" in way.requests[0]


@pytest.mark.parametrize("host", ["127.0.0.2", "127.0.0.2.", "10.1.2.3", "0x7f.1", "2130706434."])
@ensureDeferred
async def test_denied_addresses_do_not_reach_the_proxy(host: str) -> None:
    """Nor are those tried that need none."""
    async with proxy() as way:
        for scheme in ("http", "https"):
            with pytest.raises(AddressDeniedError):
                await get(client(way.port), f"{scheme}://{host}/")
        with pytest.raises(RequestError):
            await get(client(way.port, ("*",)), f"http://127.0.0.1:{way.port}/")
        assert way.requests == []


@ensureDeferred
async def test_a_proxy_that_refuses() -> None:
    """The reason is told; nothing waits."""
    refusing = Origin(saying(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"))
    with pytest.raises(RequestError, match="407 Proxy Authentication Required"):
        await get(client(refusing.port), "https://far.test/")
    closing = Origin(lambda line, _: line.end())
    with pytest.raises(RequestError, match="the proxy closed the connection"):
        await get(client(closing.port), "https://far.test/")
    endless = Origin(lambda line, _: line.send(b"x" * 20_000))
    with pytest.raises(RequestError, match="the proxy answers"):
        await get(client(endless.port), "https://far.test/")
    for server in (refusing, closing, endless):
        await server.stop()


@pytest.mark.parametrize(
    ("rule", "host", "is_direct"),
    [
        ("example.com", "example.com", True),
        ("example.com", "a.example.com", True),
        ("example.com", "notexample.com", False),
        (".example.com", "A.Example.com", True),
        ("*.example.com", "a.example.com", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("fd00::/8", "fd00::1", True),
        ("*", "any.test", True),
    ],
)
def test_who_is_reached_without_a_proxy(rule: str, host: str, is_direct: bool) -> None:
    proxies = Proxies(https=Proxy("p", 1), direct=(rule,))
    assert (proxies.of("https", host) is None) == is_direct
    assert proxies.of("http", host) is None


def test_spellings() -> None:
    """As in Synapse and in the environment."""
    assert Proxy.parse("http://user:pass@proxy.test:3128") == Proxy("proxy.test", 3128, USER)
    assert Proxy.parse("proxy.test:3128/") == Proxy("proxy.test", 3128)
    assert Proxy.parse("proxy.test") == Proxy("proxy.test", 1080)
    assert Proxy.parse("http://[fd00::1]:3128") == Proxy("fd00::1", 3128)


def test_the_environment(tmp_path: Path) -> None:
    """Where the file names none; the file's word counts, also when it says that there is none."""
    environ = {"http_proxy": "a:1", "HTTPS_PROXY": "b:2", "no_proxy": "c.test, 10.0.0.0/8"}
    file = tmp_path / "homeserver.yaml"
    file.write_text(SMALL)
    found = load([file], environ)
    assert (found.http_proxy, found.https_proxy) == ("a:1", "b:2")
    assert found.no_proxy_hosts == ("c.test", "10.0.0.0/8")
    assert load([file], {"http_proxy": "http://[fd00::1]:3128"}).http_proxy == "http://[fd00::1]:3128"
    file.write_text(SMALL + "http_proxy: d:3\nhttps_proxy: null\nno_proxy_hosts: []\n")
    own = load([file], environ)
    assert (own.http_proxy, own.https_proxy, own.no_proxy_hosts) == ("d:3", None, ())


@pytest.mark.parametrize(
    "url",
    ["socks5://user:secret@proxy.test", "http://user:sec#secret@p:1", "secret.test:99999", "http://secrét:1"],
    ids=["scheme", "mark", "port", "letter"],
)
def test_a_proxy_that_is_none(tmp_path: Path, url: str) -> None:
    """The mistake is told with its option; a password in it is not."""
    file = tmp_path / "homeserver.yaml"
    file.write_text(SMALL + f'https_proxy: "{url}"\n')
    with pytest.raises(ConfigError, match="https_proxy: should be http://host:port") as caught:
        load([file], {})
    assert "secr" not in str(caught.value)
