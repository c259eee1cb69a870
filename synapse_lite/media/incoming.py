"""Bytes on their way in: a temporary file beside the store, hashed while it is written."""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from attrs import frozen

from synapse_lite.media.store import StoreError

STALE_SECONDS = 3600.0
"""What was written to so long ago belongs to a process that died: a body that stalls is cut off earlier."""


@frozen
class Received:
    """A complete file on the disk, not yet in the store."""

    path: Path
    sha256: bytes
    size: int

    def discard(self) -> None:
        """Nothing to do when the store has taken it."""
        self.path.unlink(missing_ok=True)


class Incoming:
    """A file being written, made with the first bytes. Blocking: for threads. `StoreError` when the disk is full."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = Lock()
        self._descriptor: int | None = None
        self._path: Path | None = None
        self._discarded = False
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        with self._lock:
            self._hash.update(data)
            self._size += len(data)
            view = memoryview(data)
            with self._as_store_errors():
                descriptor = self._opened()
                while view:
                    view = view[os.write(descriptor, view) :]

    def finish(self) -> Received:
        """The bytes are on the disk."""
        with self._lock:
            with self._as_store_errors():
                os.fsync(self._opened())
            self._close()
            assert self._path is not None  # noqa: S101 (opened above)
            return Received(self._path, self._hash.digest(), self._size)

    def discard(self) -> None:
        """From any thread, also while another one writes: it is waited for."""
        with self._lock:
            self._discard()

    def _opened(self) -> int:
        if self._discarded:
            raise StoreError("the upload was given up")
        if self._descriptor is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._descriptor, name = tempfile.mkstemp(dir=self._directory)
            self._path = Path(name)
        return self._descriptor

    def _discard(self) -> None:
        self._discarded = True
        self._close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @contextmanager
    def _as_store_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._discard()
            raise StoreError(f"the media store fails: {error.strerror}") from error


def adopt(path: Path) -> Received:
    """A file that a worker has written, hashed and on the disk; the same directory as `Incoming`."""
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").digest()
            os.fsync(file.fileno())
            return Received(path, sha256, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise StoreError(f"the media store fails: {error.strerror}") from error


def delete_stale(directory: Path) -> int:
    """Delete what dead processes left; how many files."""
    deleted = 0
    oldest = time.time() - STALE_SECONDS
    for path in directory.iterdir() if directory.is_dir() else ():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()
                deleted += 1
    return deleted
