"""One connection to another server: requests go out one after the other, answers are parsed as they arrive.

llhttp parses them, as it does requests (docs/decisions/025-http-parser.md).
"""

# mypy: allow-untyped-calls
# Twisted types its transports in part only.

from collections.abc import Mapping
from typing import Any, Protocol

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from synapse_lite.http.connections import Origin, RequestError, TookTooLongError

BUFFER_BYTES = 256 * 1024
MAX_OVERHEAD_BYTES = 512 * 1024
"""Of a head, and of what may stand between two pieces of a body."""
_FINAL = 200
"""Lower statuses come before the answer."""


class UnansweredError(RequestError):
    """The connection ended before the first byte of an answer."""


class Keeper(Protocol):
    """Whoever has the connections between two requests."""

    def freed(self, connection: "Connection") -> None:
        """Its answer is complete, and it may be asked again."""

    def lost(self, connection: "Connection") -> None:
        """It is no connection any more."""


class Answer:
    """What one request brings, as it arrives. The other side waits while nobody takes it.

    `status` 0: the head is not there yet. `headers` by lower-case name, the last value of each.
    """

    def __init__(self, url: str, connection: "Connection") -> None:
        self.url = url
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.has_begun = False
        self._connection: Connection | None = connection  # None: nothing more arrives
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_paused = False
        self._error: RequestError | None = None
        self._waiter: Deferred[None] | None = None

    # For whoever asked

    async def head(self) -> None:
        """Return when it is there; `RequestError`."""
        while self.status == 0:
            if self._error is not None:
                raise self._error
            await self._more()

    async def next(self) -> bytes:
        """b"" at the end; `RequestError` when it broke off."""
        while not self._pieces and self._connection is not None:
            await self._more()
        if self._pieces:
            data, self._pieces, self._size = b"".join(self._pieces), [], 0
            self._resume()
            return data
        if self._error is not None:
            raise self._error
        return b""

    def close(self) -> None:
        """Nobody wants the rest; who still reads is told that the time is over."""
        connection = self._connection
        if connection is not None:
            self._pieces = []
            self.end(TookTooLongError(f"{self.url} took too long"))
            connection.transport.abortConnection()

    # For the connection

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)

    def told(self) -> None:
        """Something has arrived, and more is to come."""
        if self._size > BUFFER_BYTES and not self._is_paused and self._connection is not None:
            self._is_paused = True
            self._connection.transport.pauseProducing()
        self._wake()

    def end(self, error: RequestError | None = None) -> None:
        """Nothing more arrives, because it is complete or because of an error."""
        if self._connection is not None:
            self._resume()
            self._connection, self._error = None, error
            self._wake()

    def _resume(self) -> None:
        if self._is_paused and self._connection is not None:
            self._is_paused = False
            self._connection.transport.resumeProducing()

    async def _more(self) -> None:
        self._waiter = Deferred()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)


class Connection(TwistedProtocol):
    """The parser calls the methods that begin with `on_`; what they noted is passed on when it has taken all data.

    Else whoever asked could ask again amidst them, and would get what the other side sent too much.
    """

    transport: Any

    def __init__(self, origin: Origin, keeper: Keeper) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self.closed: Deferred[None] = Deferred()
        self._keeper = keeper
        self._parser: Any = HttpResponseParser(self)
        self._answer: Answer | None = None
        self._headers: dict[str, str] = {}
        self._overhead = 0
        self._is_complete = False
        self._is_kept = False

    def ask(self, url: str, request: bytes) -> Answer:
        """Send it; the answer to the request before is complete."""
        self._answer = answer = Answer(url, self)
        self._overhead = 0
        self._is_complete = False
        self.transport.write(request)
        return answer

    # For Twisted

    def connectionMade(self) -> None:  # noqa: N802 (Twisted's name)
        self.transport.setTcpNoDelay(True)  # the end of a request does not wait for its beginning to arrive

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        answer = self._answer
        if answer is None:  # nobody asked
            self.transport.abortConnection()
            return
        answer.has_begun = True
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserCallbackError, HttpParserUpgrade) as error:
            if not self._is_complete:
                self._break_off(answer, f"no HTTP: {error}")
            self._is_kept = False
        if self._is_complete:
            self._finish(answer)
        elif self._overhead > MAX_OVERHEAD_BYTES:
            self._break_off(answer, "endless headers")
        else:
            answer.told()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 (Twisted's name)
        self._keeper.lost(self)
        answer, self._answer = self._answer, None
        if answer is not None:
            if answer.status and _ends_with_connection(answer.headers):
                answer.end()
            else:
                self._fail(answer, str(reason.value) or type(reason.value).__name__)
        self.closed.callback(None)

    # For the parser

    def on_message_begin(self) -> None:
        self._headers = {}
        if self._is_complete:
            self._is_kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("ascii", "replace").lower()] = value.decode("utf-8", "replace")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._answer is not None and not self._is_complete and status >= _FINAL:
            self._answer.status, self._answer.headers = status, self._headers
            self._headers = {}  # what follows a body is no header
            self._overhead = 0

    def on_body(self, piece: bytes) -> None:
        if self._answer is not None and not self._is_complete:
            self._answer.add(piece)
            self._overhead = 0

    def on_message_complete(self) -> None:
        if self._answer is not None and self._answer.status and not self._is_complete:
            self._is_complete = True
            self._is_kept = self._parser.should_keep_alive()

    def _finish(self, answer: Answer) -> None:
        self._answer = None
        if self._is_kept:
            self._keeper.freed(self)
        else:
            self.transport.loseConnection()
        answer.end()

    def _break_off(self, answer: Answer, why: str) -> None:
        self.transport.abortConnection()
        self._fail(answer, why)

    def _fail(self, answer: Answer, why: str) -> None:
        if answer.status:
            answer.end(RequestError(f"{answer.url} broke off: {why}"))
        else:
            kind = RequestError if answer.has_begun else UnansweredError
            answer.end(kind(f"{self.origin} gives no answer: {why}"))


def _ends_with_connection(headers: Mapping[str, str]) -> bool:
    """An answer without a length ends with its connection, complete or not."""
    return "content-length" not in headers and "chunked" not in headers.get("transfer-encoding", "").lower()
