"""Bytes and rows together: how what was received becomes media, and how media are read."""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from attrs import frozen
from prometheus_client import CollectorRegistry, Counter

from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.media.incoming import Received
from synapse_lite.media.store import BlobMissingError, StoreError
from synapse_lite.media.threads import MediaThreads, TooLargeError
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.media import blobs

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
RETRY_MS = 2000


class FileMissingError(MatrixError):
    """404: the bytes are not in the store."""

    def __init__(self) -> None:
        super().__init__(404, Errcode.NOT_FOUND, "The file is missing on this server")


def missing_counter(registry: CollectorRegistry) -> Counter:
    return Counter(
        "synapse_lite_media_missing_files",
        "Files that were asked for, of which there is a row, and which the store does not have",
        registry=registry,
    )


@frozen
class Library:
    """The order of writing is that of `storage/media/blobs.py`: a crash leaves nothing that is not found again.

    `missing` counts the files that were asked for and are not in the store.
    """

    database: Database
    threads: MediaThreads
    clock: Clock
    missing: Counter

    async def receive(self, chunks: AsyncIterator[bytes], max_bytes: int) -> Received:
        """413 `M_TOO_LARGE`, 503 when there is no room on the disk."""
        try:
            return await self.threads.receive(chunks, max_bytes)
        except TooLargeError:
            raise too_large() from None
        except StoreError as error:
            raise unavailable(error) from None

    async def keep(
        self,
        received: Received,
        refer: Callable[Concatenate[Transaction, P], T | None],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Store the bytes, and write what refers to them by `refer(txn, …)`, whose answer is returned.

        The bytes are durable before `refer` is called; where it finds them deleted it gives nothing, or False.
        503 then and when the store fails, and nothing is written.
        """
        try:
            await self.database.transact(blobs.hold, received.sha256, received.size, self.clock.now_ms())
            await self.threads.put(received)
            kept = await self.database.transact(refer, *args, **kwargs)
        except StoreError as error:
            raise unavailable(error) from None
        finally:
            self.threads.discard(received)
        if not kept:
            raise unavailable(StoreError("storing took too long"))
        return kept

    async def read(self, sha256: bytes, start: int, length: int) -> AsyncIterator[bytes]:
        """404 when the bytes are missing, 503 when the store does not answer."""
        return await self._told(self.threads.read(sha256, start, length))

    async def read_at_once(self, sha256: bytes, start: int, length: int) -> bytes:
        """As `read`, all of it: for what is small."""
        return await self._told(self._join(sha256, start, length))

    def note_missing(self, error: BlobMissingError) -> None:
        logger.warning("media: %s", error)
        self.missing.inc()

    async def _join(self, sha256: bytes, start: int, length: int) -> bytes:
        return b"".join([chunk async for chunk in await self.threads.read(sha256, start, length)])

    async def _told(self, reading: Coroutine[Any, Any, T]) -> T:
        try:
            return await reading
        except BlobMissingError as error:
            self.note_missing(error)
            raise FileMissingError from None
        except StoreError as error:
            raise unavailable(error) from None


def too_large() -> MatrixError:
    return MatrixError(413, Errcode.TOO_LARGE, "Upload request body is too large")


def unavailable(error: Any) -> MatrixError:
    logger.warning("media: %s", error)
    return MatrixError(503, Errcode.UNKNOWN, "The media store is not available", {"retry_after_ms": RETRY_MS})
