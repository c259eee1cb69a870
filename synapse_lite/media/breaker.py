"""A store that is away is asked only now and then: nobody waits for it, and no thread is lost to it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Self

from synapse_lite.media.store import (
    BlobMissingError,
    BlobStore,
    Found,
    LocalDiskError,
    LocalReading,
    Reading,
    StoreError,
)

logger = logging.getLogger(__name__)

FAILURES = 3
"""So many in a row mean that the store is away."""

PAUSE_SECONDS = 10.0
"""Then one call in this time tries whether it is back."""


class BreakerStore:
    """`monotonic`: seconds."""

    def __init__(self, store: BlobStore, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._monotonic = monotonic
        self._lock = Lock()
        self._failures = 0
        self._closed_until = 0.0

    def check(self) -> None:
        with self._lock:
            self._check()

    def put(self, sha256: bytes, path: Path) -> None:
        with self._watched():
            self._store.put(sha256, path)

    def open(self, sha256: bytes, start: int = 0) -> Reading:
        """That it opens says little: a store is well when bytes come."""
        self._enter()
        with self._counted():
            return _Watched(self._store.open(sha256, start), self)

    def open_now(self, sha256: bytes, start: int = 0) -> LocalReading | None:
        return self._store.open_now(sha256, start)

    @contextmanager
    def as_file(self, sha256: bytes, directory: Path) -> Iterator[Path]:
        with self._watched(), self._store.as_file(sha256, directory) as path:
            yield path

    def delete(self, sha256s: Sequence[bytes]) -> None:
        with self._watched():
            self._store.delete(sha256s)

    def walk(self, prefix: str) -> Iterator[Found]:
        with self._watched():
            yield from self._store.walk(prefix)

    def read(self, reading: Reading, size: int) -> bytes:
        with self._counted():
            data = reading.read(size)
        self._went_well()
        return data

    @contextmanager
    def _watched(self) -> Iterator[None]:
        self._enter()
        with self._counted():
            yield
        self._went_well()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except BlobMissingError:
            self._went_well()
            raise
        except LocalDiskError:
            raise
        except StoreError as error:
            self._failed(error)
            raise

    def _enter(self) -> None:
        with self._lock:
            self._check()
            if self._failures >= FAILURES:  # this call tries; the others do not wait for its end
                self._closed_until = self._monotonic() + PAUSE_SECONDS

    def _check(self) -> None:
        if self._failures >= FAILURES and self._monotonic() < self._closed_until:
            raise StoreError("the media store is away")

    def _went_well(self) -> None:
        with self._lock:
            if self._failures >= FAILURES:
                logger.info("media: the store is back")
            self._failures = 0

    def _failed(self, error: StoreError) -> None:
        with self._lock:
            self._failures += 1
            self._closed_until = self._monotonic() + PAUSE_SECONDS
            if self._failures == FAILURES:
                logger.warning("media: the store is away: %s", error)


class _Watched:
    """What was opened; whether its bytes come counts."""

    def __init__(self, reading: Reading, breaker: BreakerStore) -> None:
        self._reading = reading
        self._breaker = breaker

    def read(self, size: int, /) -> bytes:
        return self._breaker.read(self._reading, size)

    def close(self) -> None:
        self._reading.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
