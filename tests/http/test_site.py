import gc
import logging
import socket
import weakref

import attrs
import orjson
import pytest
import pytest_twisted
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from synapse_lite.errors import MatrixError, limit_exceeded
from synapse_lite.http.access import Access
from synapse_lite.http.channel import HEADERS_SECONDS
from synapse_lite.http.context import request_id
from synapse_lite.http.exchange import BODY_BYTES_PER_SECOND, BODY_GRACE_SECONDS, LINGER_SECONDS
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route
from tests.http.memory import Connection, ManualClock, fetch, site


async def ok(request):
    return {"ok": True}


async def echo(request):
    return {"length": len(request.body)}


OK = Route("GET", "/ok", ok, Access.NONE)
ECHO = Route("POST", "/echo", echo, Access.NONE, max_body=20_000)


def route(handler):
    return Route("GET", "/x", handler, Access.NONE)


def failing(error):
    async def handler(request):
        raise error

    return route(handler)


def test_a_dictionary_is_a_json_success():
    """A plain result is 200 and may hold ready-made JSON."""

    async def handler(request):
        return {"event": orjson.Fragment(b'{"a":1}')}

    answer = fetch(site([route(handler)]), "GET", "/x")
    assert (answer.status, answer.body) == (200, b'{"event":{"a":1}}')
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == "17"


def test_a_response_chooses_status_headers_and_type():
    """Media, redirects and health answers are no JSON."""

    async def handler(request):
        return Response(302, b"there", {"Location": "/there"}, content_type="text/plain")

    answer = fetch(site([route(handler)]), "GET", "/x")
    assert (answer.status, answer.body) == (302, b"there")
    assert answer.headers["Location"] == "/there"
    assert answer.headers["Content-Type"] == "text/plain"


def test_a_matrix_error_is_rendered_with_its_extra_keys():
    """The standard error response."""
    error = MatrixError(403, "M_FORBIDDEN", "No", {"hint": 1})
    answer = fetch(site([failing(error)]), "GET", "/x")
    assert answer.status == 403
    assert answer.json() == {"errcode": "M_FORBIDDEN", "error": "No", "hint": 1}


def test_a_limit_says_when_to_come_back():
    """`Retry-After` is in seconds, rounded up."""
    answer = fetch(site([failing(limit_exceeded(2001))]), "GET", "/x")
    assert answer.status == 429
    assert answer.headers["Retry-After"] == "3"
    assert answer.json()["retry_after_ms"] == 2001


def test_a_fault_is_logged_and_not_shown(caplog):
    """The client learns nothing of our insides; the log has the traceback."""
    answer = fetch(site([failing(RuntimeError("secret"))]), "GET", "/x")
    assert answer.status == 500
    assert answer.json() == {"errcode": "M_UNKNOWN", "error": "Internal server error"}
    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "secret" in str(record.exc_info[1])


def test_what_cannot_be_written_is_a_fault(caplog):
    """A result that is no JSON is our mistake, answered as such."""

    async def handler(request):
        return {"x": object()}

    assert fetch(site([route(handler)]), "GET", "/x").status == 500


def test_a_broken_response_does_not_leave_the_client_waiting(caplog):
    """When the answer cannot even be sent, the connection ends."""

    async def handler(request):
        return Response(200, b"", {"X": 1})

    connection = Connection(site([route(handler)]))
    connection.request("GET", "/x")
    assert connection.transport.disconnecting
    assert "Failed to answer" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/ok", 200), ("GET", "/none", 404), ("PUT", "/ok", 405), ("OPTIONS", "/any", 204)],
)
def test_every_answer_allows_other_origins(method, path, status):
    """Browsers' clients read errors too, and ask first without a token."""
    answer = fetch(site([OK]), method, path)
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST, PUT, DELETE, OPTIONS"
    allowed = answer.headers["Access-Control-Allow-Headers"]
    assert allowed == "X-Requested-With, Content-Type, Authorization, Date, If-Match, If-None-Match"
    assert answer.headers["Access-Control-Expose-Headers"] == "ETag, Synapse-Trace-Id, Server"


def test_no_content_has_neither_body_nor_length():
    """204 is complete after its headers."""
    answer = fetch(site([]), "OPTIONS", "/")
    assert answer.body == b""
    assert not {"Content-Length", "Transfer-Encoding", "Content-Type"} & set(answer.headers)


def test_head_is_get_without_a_body():
    """The length is that of the body which GET would send."""
    answer = fetch(site([OK]), "HEAD", "/ok")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "11")


async def some_turns():
    """Of the reactor: more than requests that came in one piece take."""
    for _ in range(4):
        await deferLater(reactor, 0, lambda: None)


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


def test_a_body_of_the_full_size_passes():
    """The limit itself is allowed, in one piece and in chunks."""
    connection = Connection(site([ECHO]))
    connection.request("POST", "/echo", b"x" * 20000)
    assert connection.answer().json() == {"length": 20000}
    connection.send(CHUNKED_HEAD + chunk(12000) + chunk(8000) + chunk(0))
    assert connection.answer().json() == {"length": 20000}


CHUNKED_HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(size):
    return b"%x\r\n" % size + b"x" * size + b"\r\n"


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


def test_a_body_in_time_leaves_no_timer():
    """A body in pieces is put together and its deadline forgotten."""
    clock = ManualClock()
    connection = Connection(site([ECHO], clock=clock))
    connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    connection.send(b"cd")
    assert connection.answer().json() == {"length": 4}
    connection.lose()
    assert clock.reactor.getDelayedCalls() == []


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


def test_a_client_lost_in_the_middle_of_a_body(caplog):
    """The handler is not called for half a request."""
    caplog.set_level(logging.INFO, "synapse_lite.http")
    clock = ManualClock()
    connection = Connection(site([ECHO], clock=clock))
    connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    connection.lose()
    assert "POST /echo 499" in caplog.text
    assert clock.reactor.getDelayedCalls() == []


def test_the_access_log_names_the_requester_and_no_token(caplog):
    """One line for each request, without the query."""
    caplog.set_level(logging.INFO, "synapse_lite.http")

    async def handler(request):
        request.requester_name = "@a:b"
        return {}

    fetch(site([route(handler)]), "GET", "/x?access_token=secret")
    [record] = caplog.records
    line = record.getMessage()
    assert line.startswith("GET /x 200 ")
    assert line.endswith("ms 2B @a:b")
    assert "secret" not in line


def test_each_request_has_its_id():
    """Coroutines inherit the id across waits; it does not leak into other requests."""
    seen = []
    first = Deferred()

    async def handler(request):
        seen.append(request_id.get())
        if len(seen) == 1:
            await first
            seen.append(request_id.get())
        return {}

    server = site([route(handler)])
    Connection(server).request("GET", "/x")
    fetch(server, "GET", "/x")
    assert request_id.get() == ""
    first.callback(None)
    assert seen == ["GET-1", "GET-2", "GET-1"]


def test_metrics_count_by_pattern():
    """Labels are patterns, never paths or methods of the client's invention."""

    async def handler(request, name):
        return {}

    registry = CollectorRegistry()
    server = site([Route("GET", "/things/{name}", handler, Access.NONE)], registry=registry)
    for path in ("/things/a", "/things/b", "/nowhere"):
        fetch(server, "GET", path)
    fetch(server, "PROPFIND", "/things/a")

    def total(method, route, status):
        labels = {"method": method, "route": route, "status": status}
        return registry.get_sample_value("synapse_lite_http_requests_total", labels)

    assert total("GET", "/things/{name}", "200") == 2
    assert total("GET", "unmatched", "404") == 1
    assert total("OTHER", "unmatched", "405") == 1
    labels = {"method": "GET", "route": "/things/{name}"}
    assert registry.get_sample_value("synapse_lite_http_request_seconds_count", labels) == 2


def test_http2_is_not_offered():
    """The limits are those of the HTTP/1.1 channel."""
    assert site([]).acceptableProtocols() == [b"http/1.1"]


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


def test_json_is_neither_sniffed_nor_stored():
    """No browser takes an answer for a page, no cache keeps it; other types say for themselves."""
    answer = fetch(site([OK]), "GET", "/ok")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"

    async def handler(request):
        return Response(200, b"", {}, content_type="text/plain")

    assert "Cache-Control" not in fetch(site([route(handler)]), "GET", "/x").headers


def test_a_request_leaves_no_cycle():
    """What served it is freed at its end, without the garbage collector."""
    kept = []

    async def handler(request):
        kept.append(weakref.ref(request))
        kept.append(weakref.ref(connection._protocol._exchange))
        return {}

    connection = Connection(site([route(handler)]))
    gc.collect()
    gc.disable()
    try:
        connection.request("GET", "/x")
        assert connection.answer().status == 200
        assert [found() for found in kept] == [None, None]
    finally:
        gc.enable()


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


def test_a_header_stays_on_its_line():
    """Whatever a client could put into a value of ours begins no header of its own."""

    async def handler(request):
        return Response(302, b"", {"Location": "/a\r\nSet-Cookie: b\n\rc"})

    answer = fetch(site([route(handler)]), "GET", "/x")
    assert answer.headers["Location"].split() == ["/a", "Set-Cookie:", "b", "c"]
    assert "Set-Cookie" not in answer.headers


def test_a_client_that_asks_first_is_told_to_go_on():
    """`Expect: 100-continue`, where nothing speaks against the body."""
    connection = Connection(site([ECHO]))
    connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert connection.transport.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.transport.clear()
    connection.send(b"abc")
    assert connection.answer().json() == {"length": 3}


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


@pytest.mark.parametrize("head", [b"GET /ok HTTP/1.0\r\n\r\n", b"nonsense\r\n\r\n"])
@pytest_twisted.ensureDeferred
async def test_a_connection_that_ends_has_no_producer(head):
    """Over TLS it would stay open for as long as it has one."""
    connection = Connection(site([OK]))
    connection.send(head)
    await some_turns()
    assert connection.transport.disconnecting
    assert connection.transport.producer is None
