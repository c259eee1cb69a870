"""Requests to other servers: where they may go, and how much they take."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from synapse_lite.clock import ReactorClock
from synapse_lite.http.addresses import AddressPolicy
from synapse_lite.http.client import (
    AddressDeniedError,
    BodyTooLargeError,
    HttpClient,
    RequestError,
    TookTooLongError,
)
from tests.http.memory import ManualClock
from tests.http.origins import Line, LyingReactor, Origin, Say, answer, saying

DENIED = tuple(
    map(ip_network, ("127.0.0.0/8", "10.0.0.0/8", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"))
)
ONE_ALLOWED = AddressPolicy(DENIED, (ip_network("127.0.0.1/32"),))
SECONDS = 20.0


@asynccontextmanager
async def origin(say: Say, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Origin]:
    server = Origin(say, host, port)
    try:
        yield server
    finally:
        await server.stop()


def client(source: Any = reactor, clock: Any = None, **options: Any) -> HttpClient:
    return HttpClient(source, clock or ReactorClock(reactor), ONE_ALLOWED, user_agent="tests", **options)


async def get(asking: HttpClient, url: str, max_bytes: int = 10_000, **options: Any) -> tuple[int, bytes]:
    async with asking.request("GET", url, **{"timeout": SECONDS, **options}) as reply:
        return reply.status, await reply.read(max_bytes)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.2", "10.1.2.3", "0.0.0.0", "0.1.2.3", "255.255.255.255", "::", "::1", "::ffff:127.0.0.2",
        "::ffff:7f00:2", "2002:7f00:0002::", "64:ff9b::127.0.0.2", "64:ff9b::a01:203", "::127.0.0.2",
        "2001:0:a01:203::", "fd00::1", "fe80::1", "fe80::1%eth0", "2130706434", "0x7f000002", "localhost", "",
    ],
)  # fmt: skip
def test_denied_addresses(address: str) -> None:
    """Every spelling of a denied address is denied, and so is what is no literal address."""
    assert not ONE_ALLOWED.permits(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "192.0.2.1", "2001:db8::1"])
def test_permitted_addresses(address: str) -> None:
    """What no range denies is permitted, and what a range of exceptions holds."""
    assert ONE_ALLOWED.permits(address)


@ensureDeferred
async def test_an_answer() -> None:
    """Method, headers and body go out; status, headers and body come back."""
    async with origin(saying(answer(b"hello", "X-Found: yes", status="201 Made"))) as server:
        async with client().request(
            "POST", server.url("/a?b=c"), body=b"12345", headers={"X-Asked": "1"}, timeout=SECONDS
        ) as reply:
            assert (reply.status, reply.headers["x-found"], reply.length) == (201, "yes", 5)
            assert await reply.read(5) == b"hello"
        (request,) = server.requests
        assert request.startswith(b"POST /a?b=c HTTP/1.1\r\n")
        assert b"X-Asked: 1\r\n" in request
        assert b"User-Agent: tests\r\n" in request
        assert request.endswith(b"12345")


@pytest.mark.parametrize(
    "host", ["127.0.0.2", "2130706434", "0x7f.0.0.2", "0177.0.0.2", "[::ffff:127.0.0.2]", "127.2", "0"]
)
@ensureDeferred
async def test_no_connection_to_a_denied_address(host: str) -> None:
    """Whatever the spelling, the denied server does not even see a connection."""
    async with origin(saying(answer(b"secret")), "127.0.0.2") as server:
        with pytest.raises(RequestError):
            await get(client(), server.url(host=host))
        assert server.connections == 0


@ensureDeferred
async def test_a_name_with_a_denied_and_a_permitted_address() -> None:
    """Of the addresses of a name only the permitted ones are tried."""
    async with (
        origin(saying(answer(b"fine"))) as good,
        origin(saying(answer(b"secret")), "127.0.0.2", good.port) as bad,
    ):
        lying = LyingReactor({"both.test": [("127.0.0.2", "127.0.0.1")]})
        assert await get(client(lying), good.url(host="both.test")) == (200, b"fine")
        assert bad.connections == 0


@ensureDeferred
async def test_rebinding() -> None:
    """A name that turns to a denied address between two requests leads nowhere the second time."""
    async with (
        origin(saying(answer(b"fine"))) as good,
        origin(saying(answer(b"secret")), "127.0.0.2", good.port) as bad,
    ):
        asking = client(LyingReactor({"turn.test": [("127.0.0.1",), ("127.0.0.2",)]}))
        assert await get(asking, good.url(host="turn.test")) == (200, b"fine")
        with pytest.raises(AddressDeniedError):
            await get(asking, good.url(host="turn.test"))
        assert bad.connections == 0


@ensureDeferred
async def test_redirects() -> None:
    """They are followed as often as allowed, relative ones too, and never to a denied address."""

    def say(line: Line, request: bytes) -> None:
        path = request.split()[1].decode()
        where = {"/1": "2", "/2": server.url("/3"), "/3": "", "/bad": bad.url("/"), "/loop": "/loop"}[path]
        line.send(answer(b"", f"Location: {where}", status="302 Found") if where else answer(b"there"))

    async with origin(say) as server, origin(saying(answer(b"secret")), "127.0.0.2") as bad:
        assert await get(client(), server.url("/1"), redirects=2) == (200, b"there")
        assert (await get(client(), server.url("/1"), redirects=1))[0] == 302
        assert (await get(client(), server.url("/loop"), redirects=5))[0] == 302
        with pytest.raises(AddressDeniedError):
            await get(client(), server.url("/bad"), redirects=1)
        assert bad.connections == 0


@ensureDeferred
async def test_secrets_stay_with_their_origin() -> None:
    """A redirect to another origin takes no authorization along; one within the origin does."""
    targets: list[str] = []

    def say(line: Line, _: bytes) -> None:
        line.send(answer(b"", f"Location: {targets[-1]}", status="307 T"))

    async with origin(saying(answer(b"end"))) as other, origin(say) as server:
        for target, kept in ((server.url("/again"), True), (other.url(), False)):
            targets.append(target)
            await get(client(), server.url(), redirects=1, headers={"Authorization": "secret"})
            last = (server if kept else other).requests[-1]
            assert (b"authorization: secret" in last.lower()) is kept


@ensureDeferred
async def test_too_large() -> None:
    """An answer over the limit is refused by its length, and while it is read where that is not told."""
    async with origin(saying(answer(b"x" * 101))) as server:
        with pytest.raises(BodyTooLargeError):
            await get(client(), server.url(), max_bytes=100)

    def endless(line: Line, _: bytes) -> None:
        line.send(b"HTTP/1.1 200 OK\r\n\r\n")
        line.stream(b"x" * 65536)

    async with origin(endless) as server:
        with pytest.raises(BodyTooLargeError):
            await get(client(), server.url(), max_bytes=1_000_000)
        assert server.sent < 20_000_000


@ensureDeferred
async def test_an_endless_head() -> None:
    """Headers without end are cut off."""

    def say(line: Line, _: bytes) -> None:
        line.send(b"HTTP/1.1 200 OK\r\n")
        line.stream(b"X-Same: header\r\n" * 1000)

    async with origin(say) as server:
        with pytest.raises(RequestError):
            await get(client(), server.url())
        assert server.sent < 20_000_000


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234"]
)
@ensureDeferred
async def test_silence(sent: bytes) -> None:
    """Who says nothing, half a head or half a body is given up at the deadline, and the connection is closed."""
    asked: Deferred[None] = Deferred()

    def say(line: Line, _: bytes) -> None:
        line.send(sent)
        asked.callback(None)

    clock = ManualClock()
    async with origin(say) as server:
        waiting = Deferred.fromCoroutine(get(client(clock=clock), server.url()))
        await asked
        if b"\r\n\r\n" in sent:
            await ReactorClock(reactor).sleep(0.1)  # the half of the body is on its way
        clock.advance(SECONDS)
        with pytest.raises(TookTooLongError, match="took too long"):
            await waiting
        while server.lost == 0:
            await ReactorClock(reactor).sleep(0.01)


@ensureDeferred
async def test_broken_off() -> None:
    """A body that ends before its length is an error, not a short body."""

    def say(line: Line, _: bytes) -> None:
        line.send(answer(b"1234", length=9))
        line.end()

    async with origin(say) as server:
        with pytest.raises(RequestError, match="broke off"):
            await get(client(), server.url())


@ensureDeferred
async def test_back_pressure() -> None:
    """While the reader waits, the other side is stopped instead of being kept in memory."""

    def say(line: Line, _: bytes) -> None:
        line.send(b"HTTP/1.1 200 OK\r\n\r\n")
        line.stream(b"x" * 65536)

    async with origin(say) as server, client().request("GET", server.url(), timeout=SECONDS) as reply:
        chunks = reply.chunks(10**9)
        await anext(chunks)
        sent = -1
        while sent != server.sent:  # until the buffers of the kernel are full
            sent = server.sent
            await ReactorClock(reactor).sleep(0.2)
        assert sent < 20_000_000
        assert isinstance(chunks, AsyncGenerator)
        await chunks.aclose()


@ensureDeferred
async def test_connections_are_kept() -> None:
    """A persistent client asks the same origin over one connection; others open one for each request."""
    async with origin(saying(answer(b"hello"))) as server:
        for persistent, connections in ((True, 1), (False, 3)):
            server.connections = 0
            asking = client(persistent=persistent)
            for _ in range(3):
                assert await get(asking, server.url()) == (200, b"hello")
            assert server.connections == connections
            await asking.stop()


@ensureDeferred
async def test_what_nobody_asked_for() -> None:
    """A second answer to one request is not taken for that to the next one, whenever it comes."""

    def twice(line: Line, request: bytes) -> None:
        path = request.split()[1]
        line.send(answer(path) + answer(b"forged"))

    def later(line: Line, request: bytes) -> None:
        line.send(answer(request.split()[1]))
        reactor.callLater(0.05, line.send, answer(b"forged"))

    for say in (twice, later):
        async with origin(say) as server:
            asking = client(persistent=True)
            assert await get(asking, server.url("/1")) == (200, b"/1")
            while say is later and server.lost == 0:
                await ReactorClock(reactor).sleep(0.01)
            assert await get(asking, server.url("/2")) == (200, b"/2")
            assert server.connections == 2
            await asking.stop()


@pytest.mark.parametrize(
    ("method", "options", "is_repeated"),
    [("GET", {}, True), ("PUT", {}, True), ("POST", {}, False), ("POST", {"is_repeatable": True}, True)],
)
@ensureDeferred
async def test_a_kept_connection_that_ends(method: str, options: dict[str, Any], is_repeated: bool) -> None:
    """What may be asked twice is asked again, once, when the other side had closed; what may not is an error."""

    def say(line: Line, request: bytes) -> None:
        if b"/end" in request and len(server.requests) == 2:
            line.end()
        else:
            line.send(answer(b"hello"))

    async with origin(say) as server:
        asking = client(persistent=True)
        await get(asking, server.url())
        asked = asking.request(method, server.url("/end"), timeout=SECONDS, **options)
        if is_repeated:
            async with asked as reply:
                assert await reply.read(10) == b"hello"
        else:
            with pytest.raises(RequestError, match="gives no answer"):
                await asked.__aenter__()
        assert len(server.requests) == 2 + is_repeated
        await asking.stop()


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + answer(b"fine"), b"fine"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nLate: 1\r\n\r\n", b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)  # fmt: skip
@ensureDeferred
async def test_forms_of_answers(sent: bytes, body: bytes) -> None:
    """Interim answers, chunks, trailers and no body at all: the connection can be used again after each."""
    async with origin(saying(sent)) as server:
        asking = client(persistent=True)
        for _ in range(2):
            async with asking.request("GET", server.url(), timeout=SECONDS) as reply:
                assert await reply.read(100) == body
                assert "late" not in reply.headers
                assert "link" not in reply.headers
        assert server.connections == 1
        await asking.stop()


@ensureDeferred
async def test_an_answer_that_ends_with_its_connection() -> None:
    """Without a length the body is what comes until the other side closes."""

    def say(line: Line, _: bytes) -> None:
        line.send(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        line.end()

    async with origin(say) as server:
        assert await get(client(), server.url()) == (200, b"all of it")


@pytest.mark.parametrize("chunk", [b"0\r\n" + b"X-Same: trailer\r\n", b"1;" + b"x" * 1000])
@ensureDeferred
async def test_endless_in_between(chunk: bytes) -> None:
    """Neither trailers nor what may stand beside the length of a chunk go on without end."""

    def say(line: Line, _: bytes) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
        line.stream(chunk[-17:] * 1000)

    async with origin(say) as server:
        with pytest.raises(RequestError):
            await get(client(), server.url())
        assert server.sent < 20_000_000


@pytest.mark.parametrize(
    "sent", [b"SSH-2.0-Server\r\n", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"]
)
@ensureDeferred
async def test_no_http(sent: bytes) -> None:
    """Who speaks something else, or wants to, gives no answer."""
    async with origin(saying(sent)) as server:
        with pytest.raises(RequestError, match="gives no answer"):
            await get(client(), server.url())


@ensureDeferred
async def test_large_answers_over_a_kept_connection() -> None:
    """A reader that let the other side wait leaves a connection that can be read again."""
    body = b"x" * 3_000_000
    async with origin(saying(answer(body))) as server:
        asking = client(persistent=True)
        for _ in range(2):
            async with asking.request("GET", server.url(), timeout=SECONDS) as reply:
                await ReactorClock(reactor).sleep(0.1)
                assert await reply.read(len(body)) == body
        assert server.connections == 1
        await asking.stop()


@ensureDeferred
async def test_no_header_is_smuggled() -> None:
    """What would end a line is refused before anything is sent."""
    async with origin(saying(answer(b""))) as server:
        for headers in ({"X-A": "1\r\nX-B: 2"}, {"X-A\n": "1"}):
            with pytest.raises(RequestError):
                await get(client(), server.url(), headers=headers)
        assert server.connections == 0
