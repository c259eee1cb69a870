"""One request and its answer on a connection: reading, limits, handler, sending, recording."""

# mypy: allow-untyped-calls
# Twisted types its web server in part only.

import logging
from collections.abc import Iterator
from io import BytesIO
from itertools import count
from tempfile import SpooledTemporaryFile
from time import perf_counter
from typing import BinaryIO, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES, HTTPChannel, datetimeToString
from twisted.web.http import Request as TwistedRequest

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.http.context import request_id
from synapse_lite.http.metrics import UNMATCHED, HttpMetrics
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response, render_error, render_fault
from synapse_lite.http.router import Router

logger = logging.getLogger(__name__)

MEMORY_BYTES = 256 * 1024
"""Larger bodies wait on disk until they are complete."""

BODY_GRACE_SECONDS = 30.0
BODY_BYTES_PER_SECOND = 16 * 1024
"""A body must arrive within the grace and its length at this rate."""

LINGER_SECONDS = 5.0
"""How long we read and drop what a refused client still sends. Closing at once would reset the
connection, and the client might never see why it was refused."""

CLIENT_CLOSED = 499
_MAX_LOGGED_PATH = 512

_COMMON_HEADERS = (
    (b"Server", b"synapse_lite"),
    (b"Access-Control-Allow-Origin", b"*"),
    (b"Access-Control-Allow-Methods", b"GET, HEAD, POST, PUT, DELETE, OPTIONS"),
    (b"Access-Control-Allow-Headers", b"X-Requested-With, Content-Type, Authorization, Date"),
    (b"Access-Control-Expose-Headers", b"Synapse-Trace-Id, Server"),
)


@attrs.frozen
class Service:
    """What all requests of one listener share. Sizes are bytes."""

    router: Router
    metrics: HttpMetrics
    clock: Clock
    max_body_size: int
    x_forwarded: bool
    numbers: Iterator[int] = attrs.field(factory=lambda: count(1))


class Exchange(TwistedRequest):
    """Replaces Twisted's resource tree: `process` asks the router and awaits the handler."""

    content: BinaryIO
    # Twisted tells us these only when the request is complete.
    method = b"-"
    path = b"-"

    def __init__(self, service: Service, channel: HTTPChannel, queued: bool) -> None:
        super().__init__(channel, queued, parsePOSTFormSubmission=False)
        self._service = service
        self._route = UNMATCHED
        self._request: Request | None = None
        self._started = perf_counter()
        self._body_length: int | None = 0
        self._received = 0
        self._refused = False
        self._recorded = False
        self._gone = False
        self._deadline: DelayedCall | None = None
        self._handling: Deferred[None] | None = None

    def gotLength(self, length: int | None) -> None:  # noqa: N802 (Twisted's name)
        """The headers are complete. `length` is None for a chunked body."""
        self._body_length = length
        self.content = _body_store(length)
        if length is not None and length > self._service.max_body_size:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        self._received += len(data)
        if self._refused:
            return
        if self._received > self._service.max_body_size:
            self._refuse()
            return
        self.content.write(data)
        if self._deadline is None and self._received != self._body_length:
            expected = self._body_length or self._service.max_body_size
            self._abort_after(BODY_GRACE_SECONDS + expected / BODY_BYTES_PER_SECOND)

    def process(self) -> None:
        """The request is complete."""
        self._stop_deadline()
        if self._refused:
            self._record(413)
            self.finish()
            return
        self._started = perf_counter()
        token = request_id.set(f"{self._logged()[0]}-{next(self._service.numbers)}")
        try:
            self._handling = Deferred.fromCoroutine(self._handle())
        finally:
            request_id.reset(token)
        self._handling.addErrback(self._abandon)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 (Twisted's name)
        """The client is gone before its answer was complete: stop working for it."""
        self._gone = True
        self._stop_deadline()
        super().connectionLost(reason)
        if self._handling is not None:
            self._handling.cancel()
        self._record(413 if self._refused else CLIENT_CLOSED)

    async def _handle(self) -> None:
        try:
            response = await self._call_handler()
            body = response.encoded_body()
        except MatrixError as error:
            response = render_error(error)
            body = response.encoded_body()
        except Exception as error:
            if not (self._gone and isinstance(error, CancelledError)):
                logger.exception("Failed to handle %s %s", *self._logged())
            response = render_fault()
            body = response.encoded_body()
        if self._gone:
            self._record(CLIENT_CLOSED)
            return
        self._send(response, body)
        self._record(response.status)
        self.finish()

    def _abandon(self, failure: Failure) -> None:
        """The answer itself was faulty: the client must not wait for the rest of it."""
        logger.error("Failed to answer %s %s", *self._logged(), exc_info=failure.value)
        if not self.finished:
            self.channel.forceAbortClient()

    async def _call_handler(self) -> Response:
        method = self.method.decode("ascii", "backslashreplace")
        if method == "OPTIONS":
            return Response(204, b"")
        match = self._service.router.match(method, self.path)
        self._route = match.route.pattern
        self._request = Request(self, x_forwarded=self._service.x_forwarded)
        result = await match.route.handler(self._request, **match.params)
        return result if isinstance(result, Response) else Response(200, result)

    def _send(self, response: Response, body: bytes) -> None:
        self.setResponseCode(response.status)
        headers = self.responseHeaders
        headers.setRawHeaders(b"Date", [datetimeToString()])
        for name, value in _COMMON_HEADERS:
            headers.setRawHeaders(name, [value])
        if response.status not in NO_BODY_CODES:
            headers.setRawHeaders(b"Content-Type", [response.content_type.encode()])
            headers.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
        for field, text in response.headers.items():
            headers.setRawHeaders(field.encode(), [text.encode()])
        self.write(body)

    def _refuse(self) -> None:
        """413 now; what follows of the body is dropped, and the connection ends with it."""
        self._refused = True
        self.content.close()
        self.content = BytesIO()
        self.clientproto = b"HTTP/1.1"  # not told to us before the body is complete
        self.channel.persistent = False
        self.requestHeaders.removeHeader(b"Expect")
        self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        response = render_error(MatrixError(413, Errcode.TOO_LARGE, "Request body is too large"))
        self._send(response, response.encoded_body())
        self._stop_deadline()
        self._abort_after(LINGER_SECONDS)

    def _abort_after(self, seconds: float) -> None:
        self._deadline = self._service.clock.call_later(seconds, self.channel.forceAbortClient)

    def _stop_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _record(self, status: int) -> None:
        """Once for each request, whichever end it takes."""
        if self._recorded:
            return
        self._recorded = True
        seconds = perf_counter() - self._started
        method, path = self._logged()
        self._service.metrics.record(method, self._route, status, seconds)
        requester = self._request.requester_name if self._request is not None else None
        logger.info(
            "%s %s %d %.1fms %dB %s",
            method,
            path,
            status,
            seconds * 1000,
            self.sentLength,
            requester or "-",
        )

    def _logged(self) -> tuple[str, str]:
        """Method and path, without the query, which may hold a token."""
        method = self.method.decode("ascii", "backslashreplace")
        return method, self.path[:_MAX_LOGGED_PATH].decode("ascii", "backslashreplace")


def _body_store(length: int | None) -> BinaryIO:
    if length is not None and length <= MEMORY_BYTES:
        return BytesIO()
    return cast("BinaryIO", SpooledTemporaryFile(MEMORY_BYTES))
