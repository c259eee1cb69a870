"""Where the bytes of media are: one small interface, by SHA-256, blocking; it is called in threads of its own."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, Self

from attrs import frozen

from synapse_lite.errors import SynapseLiteError


class StoreError(SynapseLiteError):
    """The store does not answer, is full, or refuses; nothing is lost, and it may be tried again."""


class LocalDiskError(StoreError):
    """There is no room for a copy on this host: no fault of a store that is elsewhere."""


class BlobMissingError(StoreError):
    """The store does not have the bytes that the database knows."""


@frozen
class Found:
    """Bytes that the store has. `modified_ms` as the store says."""

    sha256: bytes
    size: int
    modified_ms: int


class Reading(Protocol):
    """Bytes being read, from where it was opened to the end."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...


class LocalReading(Reading, Protocol):
    """Of a file on this host. Closing it does not block."""

    def read_now(self, size: int, /) -> bytes | None:
        """As `read`, but only what is in memory already, so that it does not block; None when that is nothing."""

    def is_in_memory(self, size: int, /) -> bool:
        """Whether the kernel has the next bytes: some of them are looked at."""

    def load(self, size: int, /) -> None:
        """Have the kernel read the next bytes. Blocks."""

    def send(self, socket: int, size: int, /) -> int:
        """From the kernel's memory to a socket; the bytes that went out. `OSError` of the socket."""


class BlobStore(Protocol):
    """All methods raise `StoreError`, and may be called from several threads and processes at once."""

    def check(self) -> None:
        """Does not block; an error when the store is known to be away, so that nothing need be sent first."""

    def put(self, sha256: bytes, path: Path) -> None:
        """Take over a file, whose name is gone afterwards. Durable when it returns; the same again is no error."""

    def open(self, sha256: bytes, start: int = 0) -> Reading: ...

    def open_now(self, sha256: bytes, start: int = 0) -> LocalReading | None:
        """As `open`, for the reactor's thread: None when it might block."""

    def as_file(self, sha256: bytes, directory: Path) -> AbstractContextManager[Path]:
        """A file to be read while the block lasts: the stored one, or a copy in the directory."""

    def delete(self, sha256s: Sequence[bytes]) -> None:
        """What is not there is no error."""

    def walk(self, prefix: str) -> Iterator[Found]:
        """All whose hash begins with the hexadecimal digits."""


def hash_of(name: str) -> bytes | None:
    """The hash that a name spells; None for other names."""
    try:
        sha256 = bytes.fromhex(name)
    except ValueError:
        return None
    return sha256 if len(sha256) == 32 and sha256.hex() == name else None  # noqa: PLR2004 (SHA-256)
