"""Bodies of requests: how large, how slow, and what becomes of who is refused."""

import logging
import socket

import attrs
import orjson
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from synapse_lite.http.access import Access
from synapse_lite.http.exchange import BODY_BYTES_PER_SECOND, BODY_GRACE_SECONDS, LINGER_SECONDS
from synapse_lite.http.router import Route
from tests.http.memory import Connection, ManualClock, site
from tests.http.routes import CHUNKED_HEAD, ECHO, chunk, some_turns


def test_a_body_of_the_full_size_passes():
    """The limit itself is allowed, in one piece and in chunks."""
    connection = Connection(site([ECHO]))
    connection.request("POST", "/echo", b"x" * 20000)
    assert connection.answer().json() == {"length": 20000}
    connection.send(CHUNKED_HEAD + chunk(12000) + chunk(8000) + chunk(0))
    assert connection.answer().json() == {"length": 20000}


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_a_large_announced_body_is_refused_at_once(expect):
    """The announcement is enough: nothing of the body is read before the answer, nor asked for."""
    connection = Connection(site([ECHO]))
    connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 20001\r\n" + expect + b"\r\n")
    answer = connection.answer()
    assert answer.status == 413
    assert orjson.loads(answer.body)["errcode"] == "M_TOO_LARGE"
    assert answer.headers["Connection"] == "close"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert not connection.transport.disconnecting
    connection.send(b"x" * 20001)
    assert connection.transport.disconnecting
    assert connection.transport.value() == b""


def test_a_chunked_body_is_counted():
    """The limit holds without an announced length."""
    connection = Connection(site([ECHO]))
    connection.send(CHUNKED_HEAD + chunk(12000))
    assert connection.transport.value() == b""
    connection.send(chunk(8001))
    assert connection.answer().status == 413
    connection.send(chunk(12000) * 3 + chunk(0))
    assert connection.transport.disconnecting
    assert connection.transport.value() == b""


def test_a_refused_client_cannot_go_on_for_ever():
    """After the refusal we listen a moment, then hang up."""
    clock = ManualClock()
    connection = Connection(site([ECHO], clock=clock))
    connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 29999\r\n\r\n")
    clock.advance(LINGER_SECONDS - 1)
    connection.send(b"x")
    assert not connection.transport.disconnecting
    clock.advance(1)
    assert connection.transport.disconnecting


def test_a_slow_body_is_cut_off():
    """A byte now and then does not keep a connection: a body has a deadline by its length."""
    clock = ManualClock()
    wide = attrs.evolve(ECHO, max_body=BODY_BYTES_PER_SECOND)
    connection = Connection(site([wide], clock=clock))
    length = BODY_BYTES_PER_SECOND
    connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length)
    for _ in range(int(BODY_GRACE_SECONDS) + 1):
        assert not connection.transport.disconnecting
        connection.send(b"x")
        clock.advance(1)
    assert connection.transport.disconnecting


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 16000\r\n\r\n", b"x"),
        (b"OPTIONS /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 16000\r\n\r\n", b"x"),
        (b"OPTIONS /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(1)),
    ],
)
def test_a_slow_body_that_nobody_reads_is_cut_off(head, piece):
    """It has the deadline of one that is read: the answer waits for its end."""
    clock = ManualClock()
    connection = Connection(site([ECHO], clock=clock))
    connection.send(head)
    for _ in range(int(BODY_GRACE_SECONDS) + 1):
        assert not connection.transport.disconnecting
        connection.send(piece)
        clock.advance(1)
    assert connection.transport.disconnecting


@pytest.mark.parametrize("length", [b"Content-Length: 16385", b"Transfer-Encoding: chunked"])
def test_a_question_about_the_server_has_a_small_body(length):
    """`OPTIONS` is of no route, and so of no route's limit."""
    connection = Connection(site([ECHO]))
    connection.send(b"OPTIONS /echo HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n")
    if b"chunked" in length:
        connection.send(chunk(16385) + chunk(0))
    assert connection.answer().status == 413


def test_a_body_in_time_leaves_no_timer():
    """A body in pieces is put together and its deadline forgotten."""
    clock = ManualClock()
    connection = Connection(site([ECHO], clock=clock))
    connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    connection.send(b"cd")
    assert connection.answer().json() == {"length": 4}
    connection.lose()
    assert clock.reactor.getDelayedCalls() == []


def test_a_client_lost_in_the_middle_of_a_body(caplog):
    """The handler is not called for half a request."""
    caplog.set_level(logging.INFO, "synapse_lite.http")
    clock = ManualClock()
    connection = Connection(site([ECHO], clock=clock))
    connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    connection.lose()
    assert "POST /echo 499" in caplog.text
    assert clock.reactor.getDelayedCalls() == []


def upload_too_much(port):
    """Send three times the limit in chunks before reading anything, as simple clients do."""
    with socket.create_connection(("127.0.0.1", port), timeout=300) as client:
        client.sendall(CHUNKED_HEAD)
        for _ in range(30):
            client.sendall(chunk(100_000))
        client.sendall(chunk(0))
        answer = b""
        while data := client.recv(65536):
            answer += data
        return answer


@pytest_twisted.ensureDeferred
async def test_an_oversize_upload_over_a_socket_can_read_its_refusal():
    """The client gets the 413, not a reset connection."""
    server = site([attrs.evolve(ECHO, max_body=1_000_000)])
    port = reactor.listenTCP(0, server, interface="127.0.0.1")
    try:
        answer = await deferToThread(upload_too_much, port.getHost().port)
    finally:
        await port.stopListening()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"M_TOO_LARGE" in answer


@pytest.mark.parametrize("first", [b"chunked", b"identity"])
def test_two_transfer_encodings_are_refused(first):
    """A proxy in front might take the other one, and see another request where we see a body."""
    connection = Connection(site([ECHO]))
    lines = b"Transfer-Encoding: " + first + b"\r\nTransfer-Encoding: chunked\r\n"
    connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n" + chunk(0))
    assert connection.transport.value().startswith(b"HTTP/1.1 400 ")
    assert connection.transport.disconnecting


def test_a_client_that_asks_first_is_told_to_go_on():
    """`Expect: 100-continue`, where nothing speaks against the body."""
    connection = Connection(site([ECHO]))
    connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert connection.transport.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.transport.clear()
    connection.send(b"abc")
    assert connection.answer().json() == {"length": 3}


@pytest_twisted.ensureDeferred
async def test_what_follows_a_body_is_no_header():
    """A proxy that watches over headers does not look there."""

    async def handler(request):
        return {"asked_by": request.header("X-Forwarded-For"), "token": request.access_token_or_none()}

    connection = Connection(site([Route("POST", "/x", handler, Access.NONE)]))
    connection.send(
        b"POST /x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\nX-Forwarded-For: 203.0.113.9\r\nAuthorization: Bearer stolen\r\n\r\n"
    )
    await some_turns()
    assert connection.answer().json() == {"asked_by": "192.0.2.7", "token": None}
