import logging
import socket

import orjson
import pytest
import pytest_twisted
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.errors import MatrixError, limit_exceeded
from synapse_lite.http.context import request_id
from synapse_lite.http.exchange import BODY_BYTES_PER_SECOND, BODY_GRACE_SECONDS, LINGER_SECONDS
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route
from tests.http.memory import Connection, ManualClock, fetch, site


async def ok(request):
    return {"ok": True}


async def echo(request):
    return {"length": len(request.body)}


OK = Route("GET", "/ok", ok)
ECHO = Route("POST", "/echo", echo)


def route(handler):
    return Route("GET", "/x", handler)


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
    assert allowed == "X-Requested-With, Content-Type, Authorization, Date"
    assert answer.headers["Access-Control-Expose-Headers"] == "Synapse-Trace-Id, Server"


def test_no_content_has_neither_body_nor_length():
    """204 is complete after its headers."""
    answer = fetch(site([]), "OPTIONS", "/")
    assert answer.body == b""
    assert not {"Content-Length", "Transfer-Encoding", "Content-Type"} & set(answer.headers)


def test_head_is_get_without_a_body():
    """The length is that of the body which GET would send."""
    answer = fetch(site([OK]), "HEAD", "/ok")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "11")


def test_a_connection_serves_several_requests():
    """Keep-alive, also after an error and when requests come in one piece."""
    connection = Connection(site([OK, ECHO]))
    connection.request("GET", "/none")
    assert connection.answer().status == 404
    connection.request("POST", "/echo", b"abc")
    assert connection.answer().json() == {"length": 3}
    connection.send(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    assert connection.transport.value().count(b"200 OK") == 2
    assert not connection.transport.disconnecting


def test_a_body_of_the_full_size_passes():
    """The limit itself is allowed, in one piece and in chunks."""
    connection = Connection(site([ECHO], max_body_size=1000))
    connection.request("POST", "/echo", b"x" * 1000)
    assert connection.answer().json() == {"length": 1000}
    connection.send(CHUNKED_HEAD + chunk(600) + chunk(400) + chunk(0))
    assert connection.answer().json() == {"length": 1000}


CHUNKED_HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(size):
    return b"%x\r\n" % size + b"x" * size + b"\r\n"


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_a_large_announced_body_is_refused_at_once(expect):
    """The announcement is enough: nothing of the body is read before the answer, nor asked for."""
    connection = Connection(site([ECHO], max_body_size=1000))
    connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n" + expect + b"\r\n")
    answer = connection.answer()
    assert answer.status == 413
    assert orjson.loads(answer.body)["errcode"] == "M_TOO_LARGE"
    assert answer.headers["Connection"] == "close"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert not connection.transport.disconnecting
    connection.send(b"x" * 1001)
    assert connection.transport.disconnecting
    assert connection.transport.value() == b""


def test_a_chunked_body_is_counted():
    """The limit holds without an announced length."""
    connection = Connection(site([ECHO], max_body_size=1000))
    connection.send(CHUNKED_HEAD + chunk(600))
    assert connection.transport.value() == b""
    connection.send(chunk(401))
    assert connection.answer().status == 413
    connection.send(chunk(600) * 3 + chunk(0))
    assert connection.transport.disconnecting
    assert connection.transport.value() == b""


def test_a_refused_client_cannot_go_on_for_ever():
    """After the refusal we listen a moment, then hang up."""
    clock = ManualClock()
    connection = Connection(site([ECHO], clock=clock, max_body_size=1000))
    connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n")
    clock.advance(LINGER_SECONDS - 1)
    connection.send(b"x")
    assert not connection.transport.disconnecting
    clock.advance(1)
    assert connection.transport.disconnecting


def test_a_slow_body_is_cut_off():
    """A byte now and then does not keep a connection: a body has a deadline by its length."""
    clock = ManualClock()
    connection = Connection(site([ECHO], clock=clock, max_body_size=BODY_BYTES_PER_SECOND))
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
    assert "- - 499" in caplog.text
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
    server = site([Route("GET", "/things/{name}", handler)], registry=registry)
    for path in ("/things/a", "/things/b", "/nowhere"):
        fetch(server, "GET", path)
    fetch(server, "BREW", "/things/a")

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
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
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
    server = site([ECHO], max_body_size=1_000_000)
    port = reactor.listenTCP(0, server, interface="127.0.0.1")
    try:
        answer = await deferToThread(upload_too_much, port.getHost().port)
    finally:
        await port.stopListening()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"M_TOO_LARGE" in answer
