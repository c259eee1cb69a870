"""One connection of the HTTP server: requests come off it one after the other, each within a time.

llhttp parses what arrives (docs/decisions/025-http-parser.md). What a client sends before it has the answer to an
earlier request waits, and the connection is read no further meanwhile.
"""

# mypy: allow-untyped-calls
# Twisted types its transports in part only.

from collections import deque
from enum import Enum
from typing import Any

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.errors import SynapseLiteError
from synapse_lite.http.exchange import Exchange, Service
from synapse_lite.http.head import Head
from synapse_lite.http.kernel import write_now

HEADERS_SECONDS = 20.0
"""From the first byte of a request to the end of its headers, however slowly the bytes come."""

IDLE_SECONDS = 60.0
"""A connection on which nothing arrives is closed, unless a handler works for it."""

LEAVING_SECONDS = 15.0
"""For so long a closed connection may still take what was written to it."""

MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 500

SEND_BYTES = 512 * 1024
"""Handed to the kernel at once: with Twisted's 128 KiB each piece of a file would take two turns of the reactor."""

_VERSIONS = frozenset({"1.0", "1.1"})
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class _Mark(Enum):
    """What the parser tells beside heads and pieces of bodies."""

    END = "the request is complete"
    BAD = "what follows is not HTTP"


_Event = Head | bytes | _Mark


class _RefusedHeadError(SynapseLiteError):
    """Headers that are well-formed, but too many, too long or ambiguous."""


@implementer(IPushProducer)
class Channel(Protocol):
    """Reads requests for `Exchange`s. As a producer it is what its transport stops when the client takes nothing."""

    transport: Any

    def __init__(self, service: Service) -> None:
        self._service = service
        self._clock: Clock = service.clock
        self._parser: Any = HttpRequestParser(self)
        self._exchange: Exchange | None = None
        self._waiting: deque[_Event] = deque()
        self._reads_head = False
        self._began_one = False
        self._is_deaf = False
        self._is_leaving = False
        self._is_full = False
        self._stops: set[str] = set()
        self._producer: Any = None
        self._active_at = self._clock.monotonic()
        self._idle: DelayedCall | None = None
        self._deadline: DelayedCall | None = None
        self._draining: DelayedCall | None = None
        self._start_head()

    # For Twisted

    def connectionMade(self) -> None:  # noqa: N802 (Twisted's name)
        self.transport.SEND_LIMIT = SEND_BYTES
        if ITCPTransport.providedBy(self.transport):  # and no UNIX socket
            self.transport.setTcpNoDelay(True)  # an answer does not wait for more to send
        self.transport.registerProducer(self, True)
        self._idle = self._clock.call_later(IDLE_SECONDS, self._look_whether_idle)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        self._active_at = self._clock.monotonic()
        if self._is_deaf:
            return
        self._began_one = False
        try:
            self._parse(data)
        except (HttpParserError, HttpParserCallbackError) as error:
            cause = error.__context__
            if isinstance(error, HttpParserCallbackError) and not isinstance(cause, _RefusedHeadError):
                raise
            self._take(_Mark.BAD)
            self._is_deaf = True
        self._watch_head()
        if self._waiting:
            self._stop_reading("waiting")

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 (Twisted's name)
        for timer in (self._idle, self._deadline, self._draining):
            _cancel(timer)
        self._is_deaf = True
        self._waiting.clear()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.connection_lost(reason)

    def pauseProducing(self) -> None:  # noqa: N802 (Twisted's name)
        """The client takes no more for now: nothing is read for it either."""
        self._is_full = True
        self._stop_reading("full")
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:  # noqa: N802 (Twisted's name)
        self._is_full = False
        self._go_on_reading("full")
        if self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:  # noqa: N802 (Twisted's name)
        if self._producer is not None:
            self._producer.stopProducing()

    # For the parser

    def on_url(self, url: bytes) -> None:
        self._target.append(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Also for what follows a chunked body, where proxies do not look: that is nothing to go by."""
        if not self._reads_head:
            return
        self._count(len(name) + len(value))
        name = name.lower()
        if name == b"transfer-encoding" and (name in self._headers or value.lower() != b"chunked"):
            # Proxies in front may read another end of the body than we.
            raise _RefusedHeadError("transfer codings other than chunked, once")
        self._headers.setdefault(name, []).append(value)

    def on_headers_complete(self) -> None:
        self._reads_head = False
        version = self._parser.get_http_version()
        if version not in _VERSIONS:
            raise _RefusedHeadError("another version of HTTP")
        headers = self._headers
        length: int | None = None
        if b"transfer-encoding" not in headers:
            length = int(headers.get(b"content-length", [b"0"])[0])
        keeps_alive = version != "1.0" and self._parser.should_keep_alive()
        target = b"".join(self._target)
        self._take(Head(self._parser.get_method(), target, version, headers, length, keeps_alive))

    def on_body(self, data: bytes) -> None:
        self._take(data)

    def on_message_complete(self) -> None:
        self._take(_Mark.END)
        self._start_head()

    # For the exchange

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def write_at_once(self, data: bytes) -> None:
        """As `write`, for a whole answer: what the socket takes now does not wait for the next turn of the reactor."""
        rest = data[write_now(self.transport, data) :]
        if rest:
            self.transport.write(rest)

    def register_producer(self, producer: Any) -> None:
        """`producer` (Twisted's `IPushProducer`) is told when the client takes no more, and when it does again."""
        self._producer = producer
        if self._is_full:
            producer.pauseProducing()

    def unregister_producer(self) -> None:
        self._producer = None

    def pause_reading(self) -> None:
        """Take no more bytes off the connection, which is not idle meanwhile."""
        self._stop_reading("body")

    def resume_reading(self) -> None:
        self._active_at = self._clock.monotonic()
        self._go_on_reading("body")

    def done(self, *, keeps_alive: bool) -> None:
        """The exchange is over."""
        self._exchange = None
        self._producer = None
        self._active_at = self._clock.monotonic()
        if not keeps_alive:
            self._leave()
        elif self._waiting:
            self._drain_later()

    def forceAbortClient(self) -> None:  # noqa: N802 (Twisted's name)
        """End the connection at once."""
        self.transport.abortConnection()

    @property
    def client_host(self) -> str:
        """Of the peer; "" on a UNIX socket."""
        return str(getattr(self.transport.getPeer(), "host", ""))

    # Reading

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            # Nobody gets another protocol: the request is answered as it is, and what follows is HTTP again.
            self._parser = HttpRequestParser(self)
            rest = data[upgrade.args[0] :]
            if rest:
                self._parse(rest)

    def _start_head(self) -> None:
        self._target: list[bytes] = []
        self._headers: dict[bytes, list[bytes]] = {}
        self._head_bytes = 0

    def on_message_begin(self) -> None:
        """For the parser."""
        self._reads_head = True

    def _count(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD_BYTES or len(self._headers) >= MAX_HEADERS:
            raise _RefusedHeadError("too much of headers")

    def _watch_head(self) -> None:
        """Headers that are here at once, as nearly all are, need no timer."""
        if not self._reads_head:
            _cancel(self._deadline)
            self._deadline = None
        elif self._deadline is None:
            self._deadline = self._clock.call_later(HEADERS_SECONDS, self.forceAbortClient)

    def _take(self, event: _Event) -> None:
        """Now, or after the requests before it."""
        if self._is_deaf:
            return
        if self._waiting or (isinstance(event, Head) and (self._exchange or self._began_one)):
            self._waiting.append(event)
            if self._exchange is None:
                self._drain_later()
        else:
            self._deliver(event)

    def _deliver(self, event: _Event) -> None:
        if isinstance(event, Head):
            self._began_one = True
            self._exchange = Exchange(self._service, self, event)
            self._exchange.start()
        elif event is _Mark.BAD:
            self._refuse()
        elif self._exchange is not None:  # else it is over, and the connection with it
            if isinstance(event, bytes):
                self._exchange.take_body(event)
            else:
                self._exchange.end_body()

    def _refuse(self) -> None:
        if self._exchange is not None and self._exchange.is_answering:
            self.forceAbortClient()
            return
        self.write(_BAD_REQUEST)
        self._leave()

    def _drain_later(self) -> None:
        if self._draining is None:
            self._draining = self._clock.call_later(0, self._drain)

    def _drain(self) -> None:
        """One of the requests that wait: others have their turn between them."""
        self._draining = None
        self._began_one = False
        while self._waiting and not (
            isinstance(self._waiting[0], Head) and (self._exchange or self._began_one)
        ):
            self._deliver(self._waiting.popleft())
        if not self._waiting:
            self._go_on_reading("waiting")
        elif self._exchange is None:
            self._drain_later()

    # Pauses and ends

    def _stop_reading(self, reason: str) -> None:
        if not self._stops:
            self.transport.pauseProducing()
        self._stops.add(reason)

    def _go_on_reading(self, reason: str) -> None:
        if reason in self._stops:
            self._stops.discard(reason)
            if not self._stops:
                self.transport.resumeProducing()

    def _look_whether_idle(self) -> None:
        """Looked at now and then, instead of a timer for each request."""
        left = IDLE_SECONDS
        is_at_work = self._exchange is not None and self._exchange.is_complete
        if not is_at_work and "body" not in self._stops:
            left += self._active_at - self._clock.monotonic()
        if left <= 0:
            self._leave()
        else:
            self._idle = self._clock.call_later(left, self._look_whether_idle)

    def _leave(self) -> None:
        """Close when all is sent; whoever does not take it is cut off."""
        if self._is_leaving:
            return
        self._is_leaving = self._is_deaf = True
        self.transport.unregisterProducer()  # over TLS a connection with a producer does not end
        self._waiting.clear()
        _cancel(self._idle)
        _cancel(self._deadline)
        self._idle = self._clock.call_later(LEAVING_SECONDS, self.forceAbortClient)
        self.transport.loseConnection()


def _cancel(timer: DelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()
