"""One request and its answer on a connection: limits, reading, handler, sending, recording."""

import logging
from collections.abc import Iterator
from email.utils import formatdate
from functools import cache
from http import HTTPStatus
from itertools import count
from time import perf_counter
from typing import Any, Protocol, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.errors import MatrixError, UnavailableError, too_large
from synapse_lite.http.access import Access, Authenticator
from synapse_lite.http.body_stream import BodyStream, Source
from synapse_lite.http.context import request_id
from synapse_lite.http.head import Head
from synapse_lite.http.large_answers import LargeAnswers
from synapse_lite.http.metrics import UNMATCHED, HttpMetrics
from synapse_lite.http.request import Request
from synapse_lite.http.response import JSON, Response, Stream, render_error, render_fault, render_unavailable
from synapse_lite.http.router import Match, Router
from synapse_lite.http.sending import PIECE_BYTES, pieces, send_stream

logger = logging.getLogger(__name__)

SMALL_BODY = 16 * 1024
"""Bytes that are read before anything else: a larger body, or one without a length, waits for the access check."""

BODY_GRACE_SECONDS = 30.0
BODY_BYTES_PER_SECOND = 16 * 1024
"""A body must arrive within the grace and its length at this rate."""

LINGER_SECONDS = 5.0
"""How long we read and drop what a refused client still sends. Closing at once would reset the
connection, and the client might never see why it was refused."""

CLIENT_CLOSED = 499
_MAX_LOGGED_PATH = 512

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_COMMON_HEADERS = b"\r\n".join(
    [
        b"Server: synapse_lite",
        b"Access-Control-Allow-Origin: *",
        b"Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE, OPTIONS",
        b"Access-Control-Allow-Headers: X-Requested-With, Content-Type, Authorization, Date, If-Match, If-None-Match",
        b"Access-Control-Expose-Headers: ETag, Synapse-Trace-Id, Server",
    ]
)
_JSON_HEADERS = (
    ("X-Content-Type-Options", b"X-Content-Type-Options: nosniff"),
    ("Cache-Control", b"Cache-Control: no-store"),
)
"""Of JSON for which a handler does not say otherwise."""
_STATUSES = frozenset(HTTPStatus)
_NO_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Connection(Source, Protocol):
    """What an exchange needs of its connection."""

    @property
    def client_host(self) -> str: ...

    def write(self, data: bytes, /) -> None: ...

    def write_at_once(self, data: bytes, /) -> None: ...

    def register_producer(self, producer: Any, /) -> None: ...

    def unregister_producer(self) -> None: ...

    def done(self, *, keeps_alive: bool) -> None:
        """The exchange is over."""

    def forceAbortClient(self) -> None:  # noqa: N802 (Twisted's name)
        """End the connection at once."""


class Dates:
    """The header `Date`, made once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._text = b""

    def header(self) -> bytes:
        second = self._clock.now_ms() // 1000
        if second != self._second:
            self._second, self._text = second, b"Date: " + formatdate(second, usegmt=True).encode()
        return self._text


@attrs.frozen
class Service:
    """What all requests of one listener share."""

    router: Router
    authenticator: Authenticator
    metrics: HttpMetrics
    clock: Clock
    x_forwarded: bool
    large_answers: LargeAnswers
    dates: Dates
    numbers: Iterator[int] = attrs.field(factory=lambda: count(1))


class Exchange:
    """A request and its answer.

    When the headers are complete the router says what is asked for, and whether its body may come. The handler
    runs when a small body is complete, or as soon as its caller is known.
    """

    def __init__(self, service: Service, channel: Connection, head: Head) -> None:
        self.channel = channel
        self.sentLength = 0  # of the body, bytes
        self.is_complete = False
        self.is_answering = False
        self._service = service
        self._head = head
        self._keeps_alive = head.keeps_alive
        self._match: Match | None = None
        self._max_body = SMALL_BODY  # where there is no route
        self._refusal: MatrixError | None = None
        self._request: Request | None = None
        self._started = perf_counter()
        self._received = 0
        self._body = BodyStream(channel)
        self._is_chunked = False
        self._answered = False
        self._recorded = False
        self._gone = False
        self._deadline: DelayedCall | None = None
        self._handling: Deferred[None] | None = None

    # Reading

    def start(self) -> None:
        """The headers are complete."""
        length = self._head.length
        try:
            self._match = self._find_route()
        except MatrixError as error:
            self._refuse(error)
            return
        is_small = length is not None and length <= SMALL_BODY
        if self._match is not None and (self._match.route.streams or not is_small) and length != 0:
            self._begin()
        if self._head.expects_continue and not self.is_answering and not self._refusal:
            self.channel.write(_CONTINUE)

    def take_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._received += len(data)
        if self.is_answering:
            return
        if self._refusal is None:
            self._keep(data)
        if self._deadline is None and self._received != self._head.length:
            expected = self._head.length or self._max_body
            self._abort_after(BODY_GRACE_SECONDS + expected / BODY_BYTES_PER_SECOND)

    def end_body(self) -> None:
        """The body is complete."""
        self.is_complete = True
        self._stop_deadline()
        if self._answered:
            self._finish()
            return
        self._body.end()
        if self._handling is None:
            self._begin()

    def connection_lost(self, _reason: Failure) -> None:
        """The client is gone before its answer was complete: stop working for it."""
        self._gone = True
        self._stop_deadline()
        if self._handling is not None:
            self._handling.cancel()
        self._record(CLIENT_CLOSED)

    def _find_route(self) -> Match | None:
        """None for a question about the server as such (`OPTIONS`). Raises `MatrixError`."""
        head, match = self._head, None
        if head.method != b"OPTIONS":
            match = self._service.router.match(head.method.decode("ascii", "backslashreplace"), head.path)
            self._max_body = match.route.max_body
        if head.length is not None and head.length > self._max_body:
            raise _too_large(self._max_body)
        return match

    def _keep(self, data: bytes) -> None:
        if self._received > self._max_body:
            self._refusal = _too_large(self._max_body)
            self._body.fail(self._refusal)
        else:
            self._body.feed(data)

    def _refuse(self, error: MatrixError) -> None:
        """At once when much is to come or the client waits for a word, else after it: so the connection can go on."""
        self._refusal = error
        length = self._head.length
        if length is None or length > SMALL_BODY or b"expect" in self._head.headers:
            self._begin()

    # Answering

    def _begin(self) -> None:
        self._started = perf_counter()
        token = request_id.set(f"{self._logged()[0]}-{next(self._service.numbers)}")
        try:
            self._handling = Deferred.fromCoroutine(self._handle())
        finally:
            request_id.reset(token)
        self._handling.addErrback(self._abandon)

    async def _handle(self) -> None:
        try:
            response = (await self._call_handler()).encoded()
        except MatrixError as error:
            response = self._failed(render_error(error))
        except UnavailableError as error:
            response = self._failed(render_unavailable(error))
        except Exception as error:
            if not (self._gone and isinstance(error, CancelledError)):
                logger.exception("Failed to handle %s %s", *self._logged())
            response = self._failed(render_fault())
        try:
            if not self._gone:
                await self._send(response)
        finally:
            if isinstance(response.body, Stream):
                await response.body.close()
        self._record(CLIENT_CLOSED if self._gone else response.status)
        if not self._gone:
            self._end()

    def _failed(self, response: Response) -> Response:
        """An error, with what goes along with each of its route."""
        headers = {} if self._match is None else self._match.route.error_headers
        return attrs.evolve(response, headers={**headers, **response.headers}).encoded()

    def _abandon(self, failure: Failure) -> None:
        """The answer itself was faulty: the client must not wait for the rest of it."""
        if not (self._gone and failure.check(CancelledError)):
            logger.error("Failed to answer %s %s", *self._logged(), exc_info=failure.value)
        if not self._answered and not self._gone:
            self.channel.forceAbortClient()

    async def _call_handler(self) -> Response:
        if self._refusal is not None:
            raise self._refusal
        if self._match is None:
            return Response(204, b"")
        service, route = self._service, self._match.route
        request = self._request = Request(
            self._head,
            self.channel.client_host,
            x_forwarded=service.x_forwarded,
            stream=self._body,
            large_answers=service.large_answers,
        )
        arguments: tuple[object, ...] = (request,)
        if route.access is not Access.NONE:
            arguments = (request, await service.authenticator.authenticate(request, route.access))
        if not route.streams and route.access is not Access.SERVER:
            request.body = await self._body.read()
        result = await route.handler(*arguments, **self._match.params)
        return result if isinstance(result, Response) else Response(200, result)

    async def _send(self, response: Response) -> None:
        """Head and body; a small body in one piece with the head."""
        self.is_answering = True
        body, has_body = response.body, _has_body(response.status)
        head = self._head_of(response)
        if not has_body or self._head.method == b"HEAD":
            self.channel.write(head)
        elif isinstance(body, bytes) and len(body) <= PIECE_BYTES:
            self.sentLength += len(body)
            self.channel.write_at_once(head + body)
        else:
            self.channel.write(head)
            stream = Stream(pieces(body), len(body)) if isinstance(body, bytes) else body
            await send_stream(self, cast("Stream", stream), self._service.clock)

    def _head_of(self, response: Response) -> bytes:
        if not self.is_complete:
            self._keeps_alive = False
        lines = [_status_line(response.status), _COMMON_HEADERS, self._service.dates.header()]
        if _has_body(response.status):
            lines.append(b"Content-Type: " + _field(response.content_type))
            if "Content-Length" in response.headers:
                pass  # a handler of HEAD says what GET would send
            elif response.length is not None:
                lines.append(b"Content-Length: %d" % response.length)
            elif self._head.version == "1.0":
                self._keeps_alive = False
            else:
                self._is_chunked = self._head.method != b"HEAD"
                lines.append(b"Transfer-Encoding: chunked")
            if response.content_type == JSON:
                lines += [line for name, line in _JSON_HEADERS if name not in response.headers]
        lines += [b"%s: %s" % (_field(name), _field(text)) for name, text in response.headers.items()]
        if not self._keeps_alive:
            lines.append(b"Connection: close")
        return b"\r\n".join([*lines, b"", b""])

    # For who sends a stream: what Twisted's requests offer

    def write(self, data: bytes) -> None:
        """A piece of the body."""
        if not data:
            return
        self.sentLength += len(data)
        self.channel.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: ARG002, N802 (Twisted's name)
        self.channel.register_producer(producer)

    def unregisterProducer(self) -> None:  # noqa: N802 (Twisted's name)
        self.channel.unregister_producer()

    def _end(self) -> None:
        """Of the answer. What the client still sends is dropped."""
        self._answered = True
        if self._is_chunked:
            self.channel.write(b"0\r\n\r\n")
        if self.is_complete:
            self._finish()
            return
        self._body.discard()
        self._stop_deadline()
        self._abort_after(LINGER_SECONDS)

    def _finish(self) -> None:
        self.channel.done(keeps_alive=self._keeps_alive)

    def _abort_after(self, seconds: float) -> None:
        self._deadline = self._service.clock.call_later(seconds, self.channel.forceAbortClient)

    def _stop_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    # Recording

    def _record(self, status: int) -> None:
        """Once for each request, whichever end it takes."""
        if self._recorded:
            return
        self._recorded = True
        seconds = perf_counter() - self._started
        method, path = self._logged()
        route = self._match.route.pattern if self._match is not None else UNMATCHED
        self._service.metrics.record(method, route, status, seconds)
        requester = self._request.requester_name if self._request is not None else None
        if self._request is not None:
            self._request.release()
        # The two know each other: without this, each request would wait for a garbage collection.
        self._request = None
        is_news = status >= HTTPStatus.BAD_REQUEST or self._match is None or not self._match.route.is_probe
        level = logging.INFO if is_news else logging.DEBUG
        shown = (method, path, status, seconds * 1000, self.sentLength, requester or "-")
        logger.log(level, "%s %s %d %.1fms %dB %s", *shown)

    def _logged(self) -> tuple[str, str]:
        """Method and path, without the query, which may hold a token."""
        method = self._head.method.decode("ascii", "backslashreplace")
        return method, self._head.path[:_MAX_LOGGED_PATH].decode("ascii", "backslashreplace")


def _has_body(status: int) -> bool:
    return status not in _NO_BODY


@cache
def _status_line(status: int) -> bytes:
    reason = HTTPStatus(status).phrase if status in _STATUSES else "Unknown"
    return f"HTTP/1.1 {status} {reason}".encode()


def _field(text: str) -> bytes:
    """Of a header: on one line, whatever somebody has put into it."""
    return b" ".join(text.encode().splitlines())


def _too_large(limit: int) -> MatrixError:
    return too_large(f"Request body is too large: it may have {limit} bytes")
