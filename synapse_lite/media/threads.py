"""The store as the reactor sees it: in threads of its own, so that a slow disk holds up nothing but media."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.media.directory import LocalFile
from synapse_lite.media.incoming import Incoming, Received
from synapse_lite.media.pieces import READ_BYTES, FilePieces, remote_pieces
from synapse_lite.media.store import BlobStore, Reading, StoreError
from synapse_lite.media.turns import Turns
from synapse_lite.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 8
MAX_WAITING = 512
WRITE_BYTES = 512 * 1024
CHUNKS_A_TURN = 4


class TooLargeError(StoreError):
    """More bytes arrived than are taken."""


class MediaThreads:
    """Runs what blocks. With `MAX_WAITING` calls in the queue a further one is refused at once."""

    def __init__(self, reactor: Any, store: BlobStore, incoming: Path) -> None:
        self._store = store
        self._incoming = incoming
        self._pool = Threads(reactor, THREADS, "media")
        self.turns = Turns(reactor, CHUNKS_A_TURN)
        self._waiting = 0

    def start(self) -> None:
        """Nothing: threads start when they are needed."""

    def stop(self) -> None:
        self._pool.stop()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await _apart(self._start(function, *args, **kwargs))

    async def receive(self, chunks: AsyncIterator[bytes], max_bytes: int) -> Received:
        """A complete file, hashed. `TooLargeError`; whatever ends it early, nothing is left behind.

        Not begun while the store is away.
        """
        self._store.check()
        incoming = Incoming(self._incoming)
        buffered: list[bytes] = []
        size = 0
        try:
            async for chunk in _at_most(chunks, max_bytes):
                buffered.append(chunk)
                size += len(chunk)
                if size >= WRITE_BYTES:
                    await self.run(_write, incoming, buffered)
                    buffered, size = [], 0
            return await self.run(_finish, incoming, buffered)
        except BaseException:
            self._pool.begin(incoming.discard)
            raise

    async def put(self, received: Received) -> None:
        await self.run(self._store.put, received.sha256, received.path)

    def discard(self, received: Received) -> None:
        self._pool.begin(received.discard)

    async def read(self, sha256: bytes, start: int, length: int) -> AsyncIterator[bytes]:
        """`length` bytes from `start`; raises before the first one when the bytes are not there.

        Waits for a turn, too: of many answers that could begin at once, a few do.
        """
        await self.turns.take()
        at_once = self._store.open_now(sha256, start)
        if at_once is not None:
            return FilePieces(self, at_once, length)
        opening = self._start(_open, self._store, sha256, start, min(length, READ_BYTES))
        try:
            reading, chunk = await _apart(opening)
        except CancelledError:
            opening.addCallback(lambda opened: self.close(opened[0]))
            raise
        if isinstance(reading, LocalFile):
            return FilePieces(self, reading, length)
        return remote_pieces(self, reading, chunk, length)

    def close(self, reading: Reading) -> None:
        self._pool.begin(reading.close)

    def _start(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        if self._waiting >= MAX_WAITING:
            raise StoreError("the media store is busy")
        self._waiting += 1
        return self._pool.run(function, *args, **kwargs).addBoth(self._done)

    def _done(self, result: T) -> T:
        self._waiting -= 1
        return result


def _apart(work: "Deferred[T]") -> "Deferred[T]":
    """Who waits for it may be cancelled; a thread cannot, and what it has opened must not be lost."""
    waiting: Deferred[T] = Deferred()

    def pass_on(result: T) -> T:
        waiting.callback(result)
        return result

    work.addCallbacks(pass_on, waiting.errback)
    return waiting


async def _at_most(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise TooLargeError(f"more than {max_bytes} bytes")
        yield chunk


def _open(store: BlobStore, sha256: bytes, start: int, size: int) -> tuple[Reading, bytes]:
    """With its first bytes; those of a local file are in memory then, and of no use here."""
    reading = store.open(sha256, start)
    try:
        if isinstance(reading, LocalFile):
            reading.load(size)
            return reading, b""
        return reading, reading.read(size)
    except BaseException:
        reading.close()
        raise


def _write(incoming: Incoming, chunks: list[bytes]) -> None:
    incoming.write(b"".join(chunks))


def _finish(incoming: Incoming, chunks: list[bytes]) -> Received:
    incoming.write(b"".join(chunks))
    return incoming.finish()
