"""Connections: several requests on one, and how they end."""

import logging
import socket

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.http.channel import HEADERS_SECONDS
from tests.http.memory import Connection, ManualClock, site
from tests.http.routes import ECHO, OK, route, some_turns


@pytest_twisted.ensureDeferred
async def test_a_connection_serves_several_requests():
    """Keep-alive, also after an error and when requests come in one piece."""
    connection = Connection(site([OK, ECHO]))
    connection.request("GET", "/none")
    assert connection.answer().status == 404
    connection.request("POST", "/echo", b"abc")
    assert connection.answer().json() == {"length": 3}
    connection.send(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    assert connection.transport.value().count(b"200 OK") == 1  # others have their turn before the next
    await some_turns()
    assert connection.transport.value().count(b"200 OK") == 3
    assert connection.transport.producerState == "producing"
    assert not connection.transport.disconnecting


def test_an_idle_connection_is_closed():
    """Connections on which nothing arrives are not kept."""
    clock = ManualClock()
    connection = Connection(site([OK], clock=clock))
    clock.advance(61)
    assert connection.transport.disconnecting


def test_a_working_handler_is_not_idle():
    """A long poll may take longer than the idle time."""
    clock = ManualClock()
    ready = Deferred()

    async def handler(request):
        return await ready

    connection = Connection(site([route(handler)], clock=clock))
    connection.request("GET", "/x")
    clock.advance(300)
    ready.callback({})
    assert connection.answer().status == 200


def test_a_lost_client_cancels_its_handler(caplog):
    """Nobody works for a client that is gone, and no error is logged about it."""
    caplog.set_level(logging.INFO, "synapse_lite.http")
    waiting = Deferred()
    seen = []

    async def handler(request):
        try:
            await waiting
        except CancelledError:
            seen.append("cancelled")
            raise

    connection = Connection(site([route(handler)]))
    connection.request("GET", "/x")
    connection.lose()
    assert seen == ["cancelled"]
    assert [r.levelno for r in caplog.records] == [logging.INFO]
    assert "GET /x 499" in caplog.text


def test_a_handler_may_finish_after_its_client_is_gone(caplog):
    """A write that must not be torn is completed; its answer goes nowhere."""
    waiting = Deferred()

    async def handler(request):
        try:
            await waiting
        except CancelledError:
            return {}

    connection = Connection(site([route(handler)]))
    connection.request("GET", "/x")
    connection.lose()
    assert connection.transport.value() == b""
    assert caplog.records == []


def test_slow_headers_are_cut_off():
    """Bytes that trickle in do not keep a connection: there is one deadline from the first to the last."""
    clock = ManualClock()
    connection = Connection(site([OK], clock=clock))
    for byte in b"GET /ok HTTP/1.1\r\nHost: slow":
        connection.send(bytes([byte]))
        clock.advance(HEADERS_SECONDS / 20)
    assert connection.transport.disconnecting


def test_the_deadline_of_headers_ends_with_them():
    """It leaves no timer, and each request of a connection has its own."""
    clock = ManualClock()
    connection = Connection(site([OK], clock=clock))
    for _ in range(2):
        clock.advance(HEADERS_SECONDS * 0.9)
        connection.send(b"GET /ok HTTP/1.1\r\n")
        clock.advance(HEADERS_SECONDS * 0.9)
        connection.send(b"Host: x\r\n\r\n")
        assert connection.answer().status == 200
    connection.lose()
    assert clock.reactor.getDelayedCalls() == []


async def served(data):
    """What is answered to these bytes, and whether the connection is closed then."""
    connection = Connection(site([OK, ECHO]))
    connection.send(data)
    await some_turns()
    return connection.transport.value(), connection.transport.disconnecting


@pytest.mark.parametrize(
    "head",
    [
        b"GET /ok\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n0\r\n\r\n",
        b"GET /ok HTTP/1.1\r\nX: " + b"x" * 17_000 + b"\r\n\r\n",
        b"GET /ok HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(501)) + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_others_might_read_differently_is_refused(head):
    """Ambiguous, malformed and endless heads get a 400, and nothing after them is read."""
    answer, closed = await served(head + b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert closed


def test_garbage_waits_for_its_turn():
    """A request before it is answered first."""
    ready = Deferred()

    async def handler(request):
        return await ready

    connection = Connection(site([route(handler)]))
    connection.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n\x00\x00")
    assert connection.transport.value() == b""
    assert connection.transport.producerState == "paused"


@pytest_twisted.ensureDeferred
async def test_another_protocol_is_not_spoken():
    """Who offers to change to one is answered in this one, and may go on."""
    answer, closed = await served(
        b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
        b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert not closed


@pytest.mark.parametrize(
    "head", [b"GET /ok HTTP/1.0\r\n\r\n", b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]
)
@pytest_twisted.ensureDeferred
async def test_a_connection_ends_where_its_client_wants(head):
    """And the answer says so."""
    answer, closed = await served(head)
    assert b"\r\nConnection: close\r\n" in answer
    assert closed


def test_a_client_that_takes_nothing_is_not_read():
    """Its requests are read on when it has taken its answers."""
    connection = Connection(site([OK]))
    connection._protocol.pauseProducing()
    assert connection.transport.producerState == "paused"
    connection._protocol.resumeProducing()
    assert connection.transport.producerState == "producing"


@pytest_twisted.ensureDeferred
async def test_an_answer_waits_for_nothing():
    """Over TCP what is written goes out at once: a client would wait for it up to 40 ms."""
    connected = Deferred()
    server = site([OK])
    make = server.buildProtocol

    def watched(address):
        channel = make(address)
        made = channel.connectionMade

        def connection_made():
            made()
            connected.callback(channel.transport.getTcpNoDelay())

        channel.connectionMade = connection_made
        return channel

    server.buildProtocol = watched
    port = reactor.listenTCP(0, server, interface="127.0.0.1")
    try:
        with socket.create_connection(("127.0.0.1", port.getHost().port)):
            assert await connected
    finally:
        await port.stopListening()


@pytest.mark.parametrize("head", [b"GET /ok HTTP/1.0\r\n\r\n", b"nonsense\r\n\r\n"])
@pytest_twisted.ensureDeferred
async def test_a_connection_that_ends_has_no_producer(head):
    """Over TLS it would stay open for as long as it has one."""
    connection = Connection(site([OK]))
    connection.send(head)
    await some_turns()
    assert connection.transport.disconnecting
    assert connection.transport.producer is None
