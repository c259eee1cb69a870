"""Bodies that are handed over while they arrive, and answers that are sent while they are made."""

import pytest
from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.errors import MatrixError
from synapse_lite.http.access import Access
from synapse_lite.http.body_stream import BUFFER_BYTES
from synapse_lite.http.exchange import SMALL_BODY
from synapse_lite.http.response import Response, Stream
from synapse_lite.http.router import Route
from synapse_lite.http.sending import STALL_SECONDS
from tests.http.memory import Connection, ManualClock, fetch, site

LIMIT = 1_000_000


class Upload:
    """A route that reads one chunk each time that the test says `more`."""

    def __init__(self):
        self.chunks = []
        self.more = Deferred()
        self.ended = None
        self.route = Route("POST", "/up", self.handle, Access.NONE, LIMIT, streams=True)

    async def handle(self, request):
        try:
            async for chunk in request.stream:
                self.chunks.append(chunk)
                await self.more
                self.more = Deferred()
        except BaseException as error:
            self.ended = error
            raise
        return {"length": request.length, "received": sum(map(len, self.chunks))}

    def go_on(self):
        self.more.callback(None)


def head(length, path="/up"):
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def test_a_body_reaches_its_handler_while_it_arrives():
    """Piece by piece, before it is complete; the answer follows the last one."""
    upload = Upload()
    connection = Connection(site([upload.route]))
    connection.send(head(6) + b"abc")
    assert upload.chunks == [b"abc"]
    connection.send(b"def")
    upload.go_on()
    assert upload.chunks == [b"abc", b"def"]
    upload.go_on()
    assert connection.answer().json() == {"length": 6, "received": 6}
    assert not connection.transport.disconnecting


def test_a_slow_reader_slows_its_client_down():
    """The connection is read no further than a buffer ahead, and goes on when the reader does."""
    upload = Upload()
    connection = Connection(site([upload.route]))
    connection.send(head(LIMIT) + b"x")
    connection.send(b"x" * BUFFER_BYTES)
    assert connection.transport.producerState == "producing"
    connection.send(b"x")
    assert connection.transport.producerState == "paused"
    upload.go_on()
    upload.go_on()
    upload.go_on()
    assert connection.transport.producerState == "producing"


def test_a_paused_connection_is_not_idle():
    """A reader may take longer than the idle time for what is there."""
    clock = ManualClock()
    upload = Upload()
    connection = Connection(site([upload.route], clock=clock))
    connection.send(head(LIMIT) + b"x")
    connection.send(b"x" * (BUFFER_BYTES + 1))
    clock.advance(35)
    clock.advance(30)
    assert not connection.transport.disconnecting


def test_a_body_that_grows_too_large_fails_its_reader():
    """A chunked body has no announced length: its reader gets the 413."""
    upload = Upload()
    connection = Connection(site([upload.route]))
    connection.send(b"POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    size = LIMIT // 2 + 1
    connection.send(b"%x\r\n" % size + b"x" * size + b"\r\n")
    connection.send(b"%x\r\n" % size + b"x" * size + b"\r\n")
    upload.go_on()
    assert isinstance(upload.ended, MatrixError)
    assert connection.answer().status == 413


def test_a_client_that_breaks_off_cancels_its_reader():
    """So the handler can throw away what it has."""
    upload = Upload()
    connection = Connection(site([upload.route]))
    connection.send(head(6) + b"abc")
    upload.go_on()
    connection.lose()
    assert isinstance(upload.ended, CancelledError)


def test_an_early_answer_ends_the_connection():
    """A handler need not read on: the client gets its answer, and the rest is dropped."""

    async def refuse(request):
        raise MatrixError(403, "M_FORBIDDEN", "No")

    clock = ManualClock()
    connection = Connection(
        site([Route("POST", "/up", refuse, Access.NONE, LIMIT, streams=True)], clock=clock)
    )
    connection.send(head(LIMIT) + b"x")
    answer = connection.answer()
    assert (answer.status, answer.headers["Connection"]) == (403, "close")
    connection.send(b"x" * (LIMIT - 1))
    assert connection.transport.disconnecting
    connection.lose()
    assert clock.reactor.getDelayedCalls() == []


class Doorkeeper:
    """Lets in whom the test says, when it says so."""

    def __init__(self):
        self.decision = Deferred()

    async def authenticate(self, request, access):
        return await self.decision


@pytest.mark.parametrize("streams", [True, False])
def test_a_large_body_waits_for_the_access_check(streams):
    """Who is refused has filled no memory: little is read before the decision."""

    async def handler(request, requester):
        return {}

    keeper = Doorkeeper()
    route = Route("POST", "/up", handler, Access.USER, LIMIT, streams=streams)
    connection = Connection(site([route], keeper))
    connection.send(head(LIMIT))
    connection.send(b"x" * (BUFFER_BYTES + 1))
    assert connection.transport.producerState == "paused"
    keeper.decision.errback(MatrixError(401, "M_UNKNOWN_TOKEN", "No"))
    assert connection.answer().status == 401


def test_unknown_paths_and_methods_take_no_body():
    """A large body for them is refused when the headers are there; a small one is read, and the connection goes on."""

    async def handler(request):
        return {}

    server = site([Route("POST", "/up", handler, Access.NONE)])
    for path, status in (("/nowhere", 404), ("/up?x", 413)):
        connection = Connection(server)
        connection.send(head(10_000_000, path))
        answer = connection.answer()
        assert (answer.status, answer.headers["Connection"]) == (status, "close")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    connection = Connection(server)
    connection.send(head(SMALL_BODY, "/nowhere"))
    assert connection.transport.value() == b""
    connection.send(b"x" * SMALL_BODY)
    assert connection.answer().status == 404
    connection.request("POST", "/up", b"{}")
    assert connection.answer().status == 200


# Answers


class Chunks:
    """Chunks, each made when the test has fired its signal."""

    def __init__(self, *chunks):
        self.signals = [(Deferred(), chunk) for chunk in chunks]
        self.made = 0
        self.closed = False

    async def __call__(self):
        try:
            for signal, chunk in self.signals:
                await signal
                self.made += 1
                yield chunk
        finally:
            self.closed = True


def streaming(chunks, length, method="GET"):
    async def handler(request):
        return Response(200, Stream(chunks(), length), {"ETag": '"1"'}, "text/plain")

    return Route(method, "/down", handler, Access.NONE)


def test_an_answer_is_sent_while_it_is_made():
    """The head first, then each chunk as it comes; the connection goes on after it."""
    chunks = Chunks(b"abc", b"de")
    connection = Connection(site([streaming(chunks, 5)]))
    connection.request("GET", "/down")
    assert b"Content-Length: 5\r\n" in connection.transport.value()
    chunks.signals[0][0].callback(None)
    assert connection.transport.value().endswith(b"\r\n\r\nabc")
    chunks.signals[1][0].callback(None)
    answer = connection.answer()
    assert (answer.body, answer.headers["Content-Type"]) == (b"abcde", "text/plain")
    assert chunks.closed
    assert not connection.transport.disconnecting


def test_a_client_that_takes_nothing_gets_no_more():
    """The next chunk is made when the connection takes it."""
    chunks = Chunks(b"a", b"b")
    connection = Connection(site([streaming(chunks, 2)]))
    connection.request("GET", "/down")
    connection._protocol.pauseProducing()
    for signal, _ in chunks.signals:
        signal.callback(None)
    assert chunks.made == 1
    connection._protocol.resumeProducing()
    assert connection.answer().body == b"ab"


def test_a_stalled_client_is_cut_off():
    """Its iterator is closed then."""
    clock = ManualClock()
    chunks = Chunks(b"a", b"b")
    connection = Connection(site([streaming(chunks, 2)], clock=clock))
    connection.request("GET", "/down")
    connection._protocol.pauseProducing()
    chunks.signals[0][0].callback(None)
    chunks.signals[1][0].callback(None)
    assert chunks.made == 1
    clock.advance(STALL_SECONDS + 1)
    assert connection.transport.disconnecting
    connection.lose()
    assert chunks.closed


def test_head_makes_no_chunk():
    """The length is told, the iterator closed unread."""
    chunks = Chunks(b"abc")
    answer = fetch(site([streaming(chunks, 3)]), "HEAD", "/down")
    assert (answer.headers["Content-Length"], answer.body) == ("3", b"")
    assert chunks.made == 0


@pytest.mark.parametrize("length", [2, 4])
def test_a_wrong_length_breaks_the_connection(length, caplog):
    """A client must not take half an answer for a whole one."""
    chunks = Chunks(b"abc")
    chunks.signals[0][0].callback(None)
    connection = Connection(site([streaming(chunks, length)]))
    connection.request("GET", "/down")
    assert connection.transport.disconnecting
    assert "Failed to answer" in caplog.text


def test_an_async_read_takes_all():
    """`BodyStream.read` is the whole body."""

    async def handler(request):
        return {"length": len(await request.stream.read())}

    server = site([Route("POST", "/up", handler, Access.NONE, LIMIT, streams=True)])
    connection = Connection(server)
    connection.send(head(LIMIT))
    for _ in range(4):
        connection.send(b"x" * (LIMIT // 4))
    assert connection.answer().json() == {"length": LIMIT}
