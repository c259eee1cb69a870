"""Media in a directory: `blobs/ab/cd/abcd…`, and `incoming/` on the same file system."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Self

from attrs import field, frozen

from synapse_lite.media.store import BlobMissingError, Found, StoreError, hash_of

MAX_RECENT = 2000
SAMPLED_BYTES = 64 * 1024
"""The kernel reads ahead further than this: where one byte is in memory, those behind it are, too."""

_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
"""Linux: what is in the page cache is read at once, everything else is an error."""


_SCRATCH = memoryview(bytearray(256 * 1024))
"""Of the reactor's thread: the kernel need not clear new pages for each piece."""


@frozen
class DirectoryStore:
    """A file is complete and on the disk before it gets its name; a rename is all that remains."""

    directory: Path
    _recent: dict[bytes, None] = field(factory=dict, init=False, eq=False)
    _lock: Lock = field(factory=Lock, init=False, eq=False)

    def check(self) -> None:
        """A directory is there or not: whoever writes will see."""

    def put(self, sha256: bytes, path: Path) -> None:
        with _as_store_errors():
            target = self._path(sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
            _sync_directory(target.parent)
        self._remember(sha256)

    def open(self, sha256: bytes, start: int = 0) -> "LocalFile":
        with _as_store_errors():
            try:
                file = LocalFile(os.open(self._path(sha256), os.O_RDONLY | os.O_CLOEXEC), start)
            except FileNotFoundError:
                raise _missing(sha256) from None
        self._remember(sha256)
        return file

    def open_now(self, sha256: bytes, start: int = 0) -> "LocalFile | None":
        """What was opened or stored a while ago is in the kernel's cache of names: nothing is read from the disk."""
        return self.open(sha256, start) if sha256 in self._recent else None

    @contextmanager
    def as_file(self, sha256: bytes, directory: Path) -> Iterator[Path]:  # noqa: ARG002 (no copy is needed)
        path = self._path(sha256)
        if not path.exists():
            raise _missing(sha256)
        yield path

    def delete(self, sha256s: Sequence[bytes]) -> None:
        with _as_store_errors():
            for sha256 in sha256s:
                self._path(sha256).unlink(missing_ok=True)

    def walk(self, prefix: str) -> Iterator[Found]:
        with _as_store_errors():
            for path in sorted(self.directory.glob(_pattern(prefix))):
                sha256 = hash_of(path.name)
                if sha256 is not None and path.name.startswith(prefix):
                    with suppress(FileNotFoundError):
                        status = path.stat()
                        yield Found(sha256, status.st_size, status.st_mtime_ns // 1_000_000)

    def _remember(self, sha256: bytes) -> None:
        with self._lock:
            self._recent.pop(sha256, None)
            self._recent[sha256] = None
            if len(self._recent) > MAX_RECENT:
                del self._recent[next(iter(self._recent))]

    def _path(self, sha256: bytes) -> Path:
        name = sha256.hex()
        return self.directory / f"{name[:2]}/{name[2:4]}/{name}"


class LocalFile:
    """An open file, read onwards from a place."""

    def __init__(self, descriptor: int, start: int) -> None:
        self._descriptor = descriptor
        self._place = start

    def read(self, size: int, /) -> bytes:
        with _as_store_errors():
            data = os.pread(self._descriptor, size, self._place)
        self._place += len(data)
        return data

    def read_now(self, size: int, /) -> bytes | None:
        if _NOWAIT is None:
            return None
        space = _SCRATCH[: min(size, len(_SCRATCH))]
        try:
            count = os.preadv(self._descriptor, [space], self._place, _NOWAIT)
        except OSError:  # not in memory, or a file system that cannot tell
            return None
        self._place += count
        return bytes(space[:count]) or None

    def is_in_memory(self, size: int, /) -> bool:
        if _NOWAIT is None:
            return False
        end = self._place + size
        try:
            for place in (*range(self._place, end, SAMPLED_BYTES), end - 1):
                os.preadv(self._descriptor, [_SCRATCH[:1]], place, _NOWAIT)
        except OSError:
            return False
        return True

    def load(self, size: int, /) -> None:
        end = self._place + size
        with _as_store_errors():
            for place in range(self._place, end, SAMPLED_BYTES):
                os.pread(self._descriptor, min(SAMPLED_BYTES, end - place), place)

    def send(self, socket: int, size: int, /) -> int:
        sent = os.sendfile(socket, self._descriptor, self._place, size)
        self._place += sent
        return sent

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _missing(sha256: bytes) -> BlobMissingError:
    return BlobMissingError(f"the file {sha256.hex()} is missing")


def _pattern(prefix: str) -> str:
    first, second = prefix[:2], prefix[2:4]
    return f"{first}{'' if len(first) == 2 else '*'}/{second}{'' if len(second) == 2 else '*'}/*"  # noqa: PLR2004


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_store_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"the media store fails: {error.strerror}") from error
