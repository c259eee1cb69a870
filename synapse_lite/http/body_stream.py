"""The body of a request while it arrives."""

from collections import deque
from typing import Protocol, Self

from twisted.internet.defer import Deferred

BUFFER_BYTES = 64 * 1024
"""What may wait in memory for a slow reader; then the connection is read no further."""


class Source(Protocol):
    """The connection behind a body."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class BodyStream:
    """`async for chunk in stream`: the body in pieces as they come, once.

    A reader that is slow slows its client down: little more than `BUFFER_BYTES` are ever in memory. Raises what
    the connection told by `fail`: 413 `M_TOO_LARGE` for a body that grows beyond its route's limit. When the client
    goes away, or is too slow, the handler is cancelled (`CancelledError`).
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False
        self._ended = False
        self._failure: Exception | None = None
        self._waiting: Deferred[None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise StopAsyncIteration
            self._waiting = Deferred()
            self._resume()
            try:
                await self._waiting
            finally:
                self._waiting = None
        chunk = self._chunks.popleft()
        self._buffered -= len(chunk)
        return chunk

    async def read(self) -> bytes:
        """All of it."""
        return b"".join([chunk async for chunk in self])

    # For the connection

    def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)
        if self._waiting is None and self._buffered > BUFFER_BYTES and not self._paused:
            self._paused = True
            self._source.pause_reading()
        self._wake()

    def end(self) -> None:
        """All of it has arrived."""
        self._ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Nothing more will arrive: what waits in memory is dropped, and the reader gets the error."""
        self._failure = error
        self.discard()
        self._wake()

    def discard(self) -> None:
        """Nobody reads on: let the rest arrive, and drop it."""
        self._chunks.clear()
        self._buffered = 0
        self._resume()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._source.resume_reading()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)
