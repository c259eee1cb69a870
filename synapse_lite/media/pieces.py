"""A stored file on its way to a client: piece by piece, a few of them in each turn of the reactor."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from synapse_lite.media.store import BlobMissingError, LocalReading, Reading, StoreError
from synapse_lite.media.turns import Turns

T = TypeVar("T")

READ_BYTES = 256 * 1024
SEND_BYTES = 4 * READ_BYTES
"""Of a piece that the kernel sends: no memory of this process holds it."""

TOO_SHORT = "the stored file is too short"


class Threads(Protocol):
    """Where what blocks is done."""

    turns: Turns

    def close(self, reading: Reading) -> None: ...
    def run(self, function: Callable[[int], T], size: int, /) -> Awaitable[T]: ...


class FilePieces:
    """Of a file on this host: an iterator, which is closed at its end; or sent by the kernel (`KernelSource`)."""

    def __init__(self, threads: Threads, file: LocalReading, length: int) -> None:
        self._threads = threads
        self._file = file
        self._left = length

    async def prepare(self) -> None:
        """Wait for a turn, and until the next piece is in memory."""
        size = min(self._left, SEND_BYTES)
        await self._threads.turns.take(-(-size // READ_BYTES))
        if not self._file.is_in_memory(size):
            await self._threads.run(self._file.load, size)

    def send_to(self, socket: int) -> int:
        """Bytes of the next piece that a socket took; `BlockingIOError` when it is full."""
        sent = self._file.send(socket, min(self._left, SEND_BYTES))
        if sent == 0:
            raise BlobMissingError(TOO_SHORT)
        self._left -= sent
        return sent

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._left <= 0:
            await self.aclose()
            raise StopAsyncIteration
        await self._threads.turns.take()
        size = min(self._left, READ_BYTES)
        at_once = self._file.read_now(size)
        chunk = await self._threads.run(self._file.read, size) if at_once is None else at_once
        if not chunk:
            raise BlobMissingError(TOO_SHORT)
        self._left -= len(chunk)
        return chunk

    async def aclose(self) -> None:
        self._file.close()


async def remote_pieces(
    threads: Threads, reading: Reading, chunk: bytes, length: int
) -> AsyncIterator[bytes]:
    """Of an object elsewhere; `chunk` is the first one."""
    try:
        while True:
            length -= len(chunk)
            yield chunk
            if length <= 0:
                return
            await threads.turns.take()
            chunk = await threads.run(reading.read, min(length, READ_BYTES))
            if not chunk:
                raise BlobMissingError(TOO_SHORT)
    finally:
        with suppress(StoreError):
            threads.close(reading)
