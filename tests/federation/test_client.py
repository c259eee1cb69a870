"""Requests to other servers over TLS: real sockets, certificates of a test authority."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.ssl import Certificate, CertificateOptions
from twisted.internet.task import LoopingCall

from synapse_lite.clock import ReactorClock
from synapse_lite.federation.client import FederationClient
from synapse_lite.federation.discovery import Discovery
from synapse_lite.federation.peers import MAX_ANSWER, PeerError, TooLargeError
from synapse_lite.federation.services import DnsServices
from synapse_lite.federation.well_known import WellKnown
from synapse_lite.http.addresses import AddressPolicy
from synapse_lite.http.client import HttpClient
from synapse_lite.http.tls import Certificates
from synapse_lite.matrix.signing import generate_signing_key
from tests.federation.test_discovery import FED, Resolver
from tests.http.memory import ManualClock
from tests.http.origins import Line, LyingReactor, Origin, Say, answer, saying
from tests.workers.certificates import Holder, authority
from tests.workers.certificates import server as certificate

KEY = generate_signing_key("ours.test")
HERE = "127.0.0.1"
ROOT = authority("root")
WELL_KNOWN = b"GET /.well-known/matrix/server "


def options(host: str, issuer: Holder = ROOT) -> CertificateOptions:
    holder = certificate(host, issuer)
    own: Any = holder.certificate
    key: Any = holder.key
    return CertificateOptions(privateKey=key, certificate=own)


@asynccontextmanager
async def origin(host: str, say: Say | None = None, issuer: Holder = ROOT) -> AsyncIterator[Origin]:
    """Answers `{}` with a certificate for the host."""
    server = Origin(say or saying(answer(b"{}")), tls=options(host, issuer))
    try:
        yield server
    finally:
        await server.stop()


class Asking:
    """A client of ours; `ports` leads usual ports to those of origins, `records` are of DNS."""

    def __init__(
        self,
        ports: dict[int, int] | None = None,
        records: dict[str, Any] | None = None,
        clock: Any = None,
        verifies: Callable[[str], bool] = lambda _: True,
        allowed: list[str] | None = None,
        names: dict[str, tuple[str, ...]] | None = None,
    ) -> None:
        here = dict.fromkeys(("a.test", "b.test", "c.test", "target.test"), (HERE,))
        found = {name: [addresses] for name, addresses in {**here, **(names or {})}.items()}
        lying = LyingReactor(found, {(HERE, usual): port for usual, port in (ports or {}).items()})
        real = ReactorClock(lying)
        trusted = [Certificate.loadPEM(ROOT.pem.encode())]
        self.http = HttpClient(
            lying,
            real,
            AddressPolicy(),
            user_agent="tests",
            persistent=True,
            tls=Certificates(trusted, verifies=verifies),
        )
        self.clock = clock or real
        self.well_known = WellKnown(self.http, self.clock)
        discovery = Discovery(self.well_known, DnsServices(Resolver(records or {})), self.clock)
        self.client = FederationClient(self.http, discovery, KEY, allowed)

    async def get(self, name: str, target: str = "/_matrix/x") -> Any:
        return await self.client.ask(name, "GET", target)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.stop()


def header(request: bytes, name: bytes) -> bytes:
    return next(
        line.partition(b": ")[2] for line in request.split(b"\r\n") if line.lower().startswith(name + b":")
    )


@ensureDeferred
async def test_a_signed_request() -> None:
    """The target is on the wire as it was signed, whatever is escaped in it; the answer is JSON."""
    target = "/_matrix/x/%21a%3Ab%2F%7E/..%2f?c=%20d&e=!"
    async with origin("localhost", saying(answer(b'{"a": 1}'))) as server, Asking() as asking:
        assert await asking.get(f"localhost:{server.port}", target) == {"a": 1}
        assert server.requests[0].startswith(b"GET " + target.encode() + b" HTTP/1.1\r\n")
        assert header(server.requests[0], b"host") == f"localhost:{server.port}".encode()
        assert f'destination="localhost:{server.port}"'.encode() in header(
            server.requests[0], b"authorization"
        )


@ensureDeferred
async def test_addresses_as_names() -> None:
    """The certificate has to be for the address, which is no server name in the handshake."""
    async with origin(HERE) as server, origin("a.test") as wrong, Asking() as asking:
        assert await asking.get(f"{HERE}:{server.port}") == {}
        assert server.names == [None]
        with pytest.raises(PeerError, match="certificate"):
            await asking.get(f"{HERE}:{wrong.port}")


@ensureDeferred
async def test_a_service_elsewhere() -> None:
    """An SRV target is where we connect; certificate, handshake and Host are of the name. On one connection."""
    async with (
        origin("a.test") as server,
        origin("target.test") as wrong,
        Asking(
            records={
                FED + "a.test": [(0, 0, server.port, "target.test")],
                FED + "b.test": [(0, 0, wrong.port, "target.test")],
            }
        ) as asking,
    ):
        for _ in range(2):
            await asking.get("a.test")
        assert server.names == [b"a.test"] * 2
        assert [header(request, b"host") for request in server.requests] == [b"a.test"] * 2
        assert server.connections == 1
        with pytest.raises(PeerError, match=r"certificate is not for b\.test"):
            await asking.get("b.test")
        assert wrong.requests == []


@ensureDeferred
async def test_connections_of_one_target_are_not_mixed() -> None:
    """Two names at the same target have connections of their own, each with its own name."""
    async with (
        origin("*.hosts.test") as server,
        Asking(records={FED + name: [(0, 0, server.port, "target.test")] for name in ("a.hosts.test", "b.hosts.test")})
        as asking,
    ):  # fmt: skip
        for name in ("a.hosts.test", "b.hosts.test", "a.hosts.test"):
            await asking.get(name)
        assert server.names == [b"a.hosts.test", b"b.hosts.test", b"a.hosts.test"]
        assert server.connections == 2


@ensureDeferred
async def test_the_first_target_that_is_there() -> None:
    """A target that refuses is passed over."""
    async with origin("a.test") as server:
        gone = Origin(saying(b""))
        await gone.stop()
        records = {FED + "a.test": [(0, 0, gone.port, "c.test"), (1, 0, server.port, "target.test")]}
        async with Asking(records=records) as asking:
            assert await asking.get("a.test") == {}


@ensureDeferred
async def test_a_delegation() -> None:
    """The name that the host gives is used for everything but the signature; it is asked for once."""

    def say(line: Line, request: bytes) -> None:
        named = json.dumps({"m.server": f"b.test:{server.port}"}).encode()
        line.send(answer(named if request.startswith(WELL_KNOWN) else b"{}"))

    async with origin("a.test", say) as host, origin("b.test") as server, Asking({443: host.port}) as asking:
        for _ in range(2):
            await asking.get("a.test")
        assert len(host.requests) == 1
        assert server.names == [b"b.test"] * 2
        assert header(server.requests[0], b"host") == f"b.test:{server.port}".encode()
        assert b'destination="a.test"' in header(server.requests[0], b"authorization")


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (answer(b'{"m.server": "b.test"}'), 24 * 3600),
        (answer(b'{"m.server": "b.test"}', "Cache-Control: public, max-age=1000"), 1000),
        (answer(b'{"m.server": "b.test"}', "Cache-Control: no-store"), 300),
        (answer(b'{"m.server": "b.test"}', "Cache-Control: max-age=99999999"), 48 * 3600),
        (answer(b'{"m.server": "b.test"}', "Expires: never"), 300),
        (answer(b"{}"), 3600),
        (answer(b'{"m.server": "not a name"}'), 3600),
        (answer(b'{"m.server": 7}'), 3600),
        (answer(b"<html>"), 3600),
        (answer(b" " * 60_000), 3600),
        (answer(b"", status="404 Not Found"), 3600),
        (answer(b"", status="503 Later"), 60),
    ],
)
@ensureDeferred
async def test_how_long_a_delegation_is_known(said: bytes, seconds: float) -> None:
    """As its headers say, in bounds; an absent or a broken one for an hour, a failure for a minute."""
    clock = ManualClock()
    async with origin("a.test", saying(said)) as host, Asking({443: host.port}, clock=clock) as asking:
        expected = "b.test" if b"b.test" in said else None
        for advance, asked in ((0, 1), (seconds - 1, 1), (2, 2)):
            clock.advance(advance)
            assert await asking.well_known.delegated("a.test") == expected
            assert len(host.requests) == asked


@ensureDeferred
async def test_a_delegation_outlives_a_failure() -> None:
    """While the host cannot be asked its last word stands for a day; when it takes it back, that is believed."""
    clock, said = ManualClock(), [answer(b'{"m.server": "b.test"}', "Cache-Control: max-age=600")]
    async with (
        origin("a.test", lambda line, _: line.send(said[-1])) as host,
        Asking({443: host.port}, clock=clock) as asking,
    ):
        assert await asking.well_known.delegated("a.test") == "b.test"
        said.append(answer(b"", status="502 Bad Gateway"))
        for _ in range(5):
            clock.advance(4000)
            assert await asking.well_known.delegated("a.test") == "b.test"
        clock.advance(24 * 3600)
        assert await asking.well_known.delegated("a.test") is None
        said.append(said[0])
        clock.advance(4000)
        assert await asking.well_known.delegated("a.test") == "b.test"
        said.append(answer(b"", status="404 Not Found"))
        clock.advance(4000)
        assert await asking.well_known.delegated("a.test") is None


@ensureDeferred
async def test_whose_certificate_is_believed() -> None:
    """Neither one of a stranger nor one for another host; unless the operator switched that off for the host."""
    strangers = authority("somebody")
    async with origin("localhost", issuer=strangers) as unknown, origin("c.test") as wrong:
        ports = [unknown.port, wrong.port]
        async with Asking() as asking:
            for port in ports:
                with pytest.raises(PeerError, match="certificate"):
                    await asking.get(f"localhost:{port}")
        assert unknown.requests == wrong.requests == []
        async with Asking(verifies=lambda host: host != "localhost") as asking:
            for port in ports:
                assert await asking.get(f"localhost:{port}") == {}


@ensureDeferred
async def test_answers_that_are_none() -> None:
    """No JSON, another status, a server that cannot be reached: each with what is known of it."""
    refused = answer(b'{"errcode": "M_FORBIDDEN", "error": "no"}', status="403 Forbidden")
    async with Asking() as asking:
        for said, status, errcode in (
            (answer(b"<html>", status="502 Bad Gateway"), 502, None),
            (answer(b"[]"), 200, None),
            (refused, 403, "M_FORBIDDEN"),
        ):
            async with origin("localhost", saying(said)) as server:
                with pytest.raises(PeerError) as caught:
                    await asking.get(f"localhost:{server.port}")
                assert (caught.value.status, caught.value.errcode) == (status, errcode)
        with pytest.raises(PeerError) as caught:
            await asking.get(f"localhost:{server.port}")
        assert caught.value.status is None


def endless(line: Line, _: bytes) -> None:
    line.send(b'HTTP/1.1 200 OK\r\n\r\n{"pdus": [')
    line.stream(b"{}," * 20_000)


def endless_chunks(line: Line, _: bytes) -> None:
    line.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"pdus":[\r\n')
    line.stream(b"c350\r\n" + b" " * 0xC350 + b"\r\n")


def endless_head(line: Line, _: bytes) -> None:
    line.send(b"HTTP/1.1 200 OK\r\n")
    line.stream(b"X-Same: header\r\n" * 1000)


def boastful(line: Line, _: bytes) -> None:
    line.send(answer(b"{", length=10**15))


@pytest.mark.parametrize("say", [endless, endless_chunks, endless_head, boastful])
@ensureDeferred
async def test_answers_without_an_end(say: Say) -> None:
    """No more of them is taken than an answer may have, whoever asks without saying so; the connection is closed."""
    async with origin("localhost", say) as server, Asking() as asking:
        with pytest.raises(PeerError):
            await asking.get(f"localhost:{server.port}")
        assert server.sent < 3 * MAX_ANSWER
        while server.lost == 0:
            await asking.clock.sleep(0.01)


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "])
@ensureDeferred
async def test_slow_answers(begun: bytes) -> None:
    """A byte now and then does not hold who asks: the deadline is for all of the answer."""
    dripping: list[LoopingCall] = []

    def drip(line: Line, _: bytes) -> None:
        line.send(begun)
        dripping.append(LoopingCall(line.send, b" "))
        dripping[-1].start(0.01)

    async with origin("localhost", drip) as server, Asking() as asking:
        with pytest.raises(PeerError, match="took too long"):
            await asking.client.ask(f"localhost:{server.port}", "GET", "/_matrix/x", timeout=0.5)
        while server.lost == 0:
            await asking.clock.sleep(0.01)
        dripping[-1].stop()


@ensureDeferred
async def test_who_is_not_asked() -> None:
    """Neither this server itself, nor what is no server name, nor who is not on the whitelist, but for keys."""
    async with origin("localhost") as server, Asking(allowed=["friend.test"]) as asking:
        for name in ("ours.test", "no server", "a/b", "", f"localhost:{server.port}"):
            with pytest.raises(PeerError):
                await asking.get(name)
        assert server.requests == []
        assert await asking.get(f"localhost:{server.port}", "/_matrix/key/v2/server") == {}


@ensureDeferred
async def test_an_answer_that_is_read_piece_by_piece() -> None:
    """Of any kind and status; a redirect without a host leads to where the server was found, another one elsewhere."""

    def say(line: Line, request: bytes) -> None:
        path = request.split()[1]
        if path == b"/file":
            line.send(answer(b"x" * 300_000, "Content-Type: text/x"))
        elif path == b"/there":
            line.send(answer(b"", "Location: /file", status="307 There"))
        elif path == b"/away":
            line.send(answer(b"", f"Location: https://b.test:{other.port}/file", status="302 Away"))
        else:
            line.send(answer(b"no", status="404 Not Found"))

    async with (
        origin("a.test", say) as server,
        Asking(records={FED + "a.test": [(0, 0, server.port, "target.test")]}) as asking,
        origin("b.test", say) as other,
    ):
        for target in ("/file", "/there", "/away"):
            async with asking.client.open("a.test", "GET", target, redirects=1) as reply:
                assert (reply.status, reply.headers["content-type"]) == (200, "text/x")
                assert await reply.read(300_000) == b"x" * 300_000
        assert [header(request, b"host") for request in server.requests] == [b"a.test"] * 4
        (unsigned,) = other.requests
        assert header(unsigned, b"host") == f"b.test:{other.port}".encode()
        assert b"authorization" not in unsigned.lower()
        async with asking.client.open("a.test", "GET", "/nothing") as reply:
            assert (reply.status, await reply.read(10)) == (404, b"no")
        async with asking.client.open_url(f"https://b.test:{other.port}/file") as reply:
            assert reply.status == 200
        with pytest.raises(TooLargeError, match="larger than 10 bytes"):
            async with asking.client.open("a.test", "GET", "/file") as reply:
                await reply.read(10)
        with pytest.raises(PeerError, match="cannot be reached"):
            async with asking.client.open_url("https://a.test:1/"):
                pass


@ensureDeferred
async def test_an_address_of_the_other_kind() -> None:
    """A name that has IPv6 addresses only, and one whose first address refuses."""
    six = Origin(saying(answer(b"{}")), "::1", tls=options("a.test"))
    four = Origin(saying(answer(b"{}")), tls=options("b.test"))
    records = {
        FED + "a.test": [(0, 0, six.port, "a.test")],
        FED + "b.test": [(0, 0, four.port, "b.test")],
    }
    async with Asking(records=records, names={"a.test": ("::1",), "b.test": ("::1", HERE)}) as asking:
        for name in ("a.test", "b.test"):
            assert await asking.get(name) == {}
    await six.stop()
    await four.stop()


@ensureDeferred
async def test_a_delegation_is_asked_for_once_at_a_time() -> None:
    """Many who want to know it at the same moment share one request, whatever its host says of keeping it."""
    said = answer(b'{"m.server": "b.test"}', "Cache-Control: no-store")
    async with origin("a.test", saying(said)) as host, Asking({443: host.port}) as asking:
        waiting = [Deferred.fromCoroutine(asking.well_known.delegated("a.test")) for _ in range(50)]
        assert await gatherResults(waiting) == ["b.test"] * 50
        assert len(host.requests) == 1
