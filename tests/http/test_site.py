import gc
import logging
import weakref

import orjson
import pytest
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred

from synapse_lite.errors import MatrixError, limit_exceeded
from synapse_lite.http.access import Access
from synapse_lite.http.context import request_id
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route
from tests.http.memory import Connection, fetch, site
from tests.http.routes import OK, failing, route


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


def test_a_header_comes_once():
    """What a handler says takes the place of what JSON is sent with."""

    async def handler(request):
        return Response(200, {}, {"Cache-Control": "max-age=1", "Content-Length": "2"})

    answer = fetch(site([route(handler)]), "HEAD", "/x")
    assert (answer.headers["Cache-Control"], answer.headers["Content-Length"]) == ("max-age=1", "2")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("error", "status"),
    [(MatrixError(404, "M_NOT_FOUND", "No"), 404), (limit_exceeded(1000), 429), (KeyError(), 500)],
)
def test_errors_have_the_headers_of_their_route(error, status):
    """Whatever fails, and beside what the error itself says."""

    async def handler(request):
        raise error

    answer = fetch(
        site([Route("GET", "/x", handler, Access.NONE, error_headers={"X-Kind": "file"})]), "GET", "/x"
    )
    assert (answer.status, answer.headers["X-Kind"]) == (status, "file")
    assert ("Retry-After" in answer.headers) is (status == 429)


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


def test_the_access_log_tells_of_probes_that_fail_only(caplog):
    """Each process is asked for its health and its metrics several times a minute."""

    async def handler(request):
        return Response(200 if request.path == "/health" else 503, b"", content_type="text/plain")

    probes = [Route("GET", path, handler, Access.NONE, is_probe=True) for path in ("/health", "/ready")]
    with caplog.at_level(logging.INFO, "synapse_lite.http.exchange"):
        for path in ("/health", "/ready", "/ok", "/nowhere"):
            fetch(site([*probes, OK]), "GET", path)
    assert [record.getMessage().split()[1] for record in caplog.records] == ["/ready", "/ok", "/nowhere"]


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


def test_a_header_stays_on_its_line():
    """Whatever a client could put into a value of ours begins no header of its own."""

    async def handler(request):
        return Response(302, b"", {"Location": "/a\r\nSet-Cookie: b\n\rc"})

    answer = fetch(site([route(handler)]), "GET", "/x")
    assert answer.headers["Location"].split() == ["/a", "Set-Cookie:", "b", "c"]
    assert "Set-Cookie" not in answer.headers
