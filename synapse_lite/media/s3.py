"""Media in S3-compatible object storage, for servers of several hosts; needs the extra `s3`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import monotonic
from typing import Any, Self, cast

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from synapse_lite.media.s3_connections import limit_heads
from synapse_lite.media.store import BlobMissingError, Found, LocalDiskError, StoreError, hash_of

CONNECT_SECONDS = 3
READ_SECONDS = 8
ATTEMPTS = 2
DELETE_AT_ONCE = 1000
PIECE_BYTES = 256 * 1024
LOOK_BYTES = 64 * 1024  # at most, between two looks at the clock
PIECE_SECONDS = 20.0
"""For one piece of what a client reads: a store that is slower holds a thread that others wait for."""
FILE_SECONDS, FILE_BYTES_A_SECOND = 60.0, 256 * 1024
"""For a whole file, up or down."""
MULTIPART_BYTES = 1024**3
"""What is smaller is one request: of one that is cut short the store keeps nothing."""
_MISSING = frozenset({"404", "NoSuchKey", "NotFound", "InvalidRange"})
"""The last: the object is shorter than what it is named after."""


class S3Store:
    """Objects `<prefix>abcd…`, one for each hash: the same object written twice is the same object."""

    def __init__(self, bucket: str, *, prefix: str = "", connections: int, **arguments: Any) -> None:
        """`arguments` are those of a boto3 client: endpoint, region, keys."""
        self._bucket = bucket
        self._prefix = prefix
        self._client = boto3.session.Session().client(
            "s3",
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                max_pool_connections=connections,
            ),
            **arguments,
        )
        limit_heads(self._client)

    def check(self) -> None:
        """Only who has asked knows (`BreakerStore`)."""

    def put(self, sha256: bytes, path: Path) -> None:
        transfer = TransferConfig(multipart_threshold=MULTIPART_BYTES, use_threads=False)
        with _as_store_errors(), _Paced(path) as file:
            self._client.upload_fileobj(file, self._bucket, self._key(sha256), Config=transfer)
        path.unlink(missing_ok=True)

    def open(self, sha256: bytes, start: int = 0) -> "_Object":
        with _as_store_errors():
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._key(sha256), **({"Range": f"bytes={start}-"} if start else {})
            )
        if "ContentLength" not in answer:
            raise StoreError("the answer of the object store is cut")
        body = answer["Body"]
        body._raw_stream = _AsItComes(body._raw_stream)  # noqa: SLF001 (botocore waits for all that is asked for)
        return _Object(body, answer["ContentLength"])

    def open_now(self, _sha256: bytes, _start: int = 0) -> None:
        """All of it is elsewhere."""

    @contextmanager
    def as_file(self, sha256: bytes, directory: Path) -> Iterator[Path]:
        with _as_disk_errors():
            directory.mkdir(parents=True, exist_ok=True)
            file = NamedTemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 (closed below)
        with file:
            with self.open(sha256) as reading:
                until = _end(reading.size)
                while data := reading.read(PIECE_BYTES):
                    _check(until)
                    view = memoryview(data)
                    while view:
                        with _as_disk_errors():
                            view = view[file.write(view) :]
            yield Path(file.name)

    def delete(self, sha256s: Sequence[bytes]) -> None:
        for first in range(0, len(sha256s), DELETE_AT_ONCE):
            keys = [{"Key": self._key(sha256)} for sha256 in sha256s[first : first + DELETE_AT_ONCE]]
            with _as_store_errors():
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True}
                )
            for error in answer.get("Errors", ()):
                raise StoreError(f"the object store does not delete {error['Key']}: {error['Code']}")

    def walk(self, prefix: str) -> Iterator[Found]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with _as_store_errors():
            for page in pages:
                for found in page.get("Contents", ()):
                    sha256 = hash_of(found["Key"][len(self._prefix) :])
                    if sha256 is not None:
                        yield Found(sha256, found["Size"], round(found["LastModified"].timestamp() * 1000))

    def _key(self, sha256: bytes) -> str:
        return self._prefix + sha256.hex()


class _AsItComes:
    """A body of urllib3's that gives what is there: each byte that comes begins its timeout anew, so waiting for more has no end."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int | None = None) -> bytes:
        return self._body.read1(size) or b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


class _Object:
    """The body of an answer of the store."""

    def __init__(self, body: Any, size: int) -> None:
        self._body = body
        self.size = size

    def read(self, size: int, /) -> bytes:
        until = monotonic() + PIECE_SECONDS
        parts = []
        with _as_store_errors():
            while size > 0 and (part := self._body.read(min(size, LOOK_BYTES))):
                parts.append(part)
                size -= len(part)
                _check(until)
        return b"".join(parts)

    def close(self) -> None:
        self._body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class _Paced(BufferedReader):
    """A file that ends with an error where whoever reads it takes too long."""

    def __init__(self, path: Path) -> None:
        super().__init__(cast("RawIOBase", path.open("rb", buffering=0)))
        self._until = _end(path.stat().st_size)

    def read(self, size: int | None = -1, /) -> bytes:
        _check(self._until)
        return super().read(size)


def _end(size: int) -> float:
    return monotonic() + FILE_SECONDS + size / FILE_BYTES_A_SECOND


def _check(until: float) -> None:
    if monotonic() > until:
        raise StoreError("the object store is too slow")


@contextmanager
def _as_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalDiskError(f"the disk fails: {error.strerror}") from error


@contextmanager
def _as_store_errors() -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _MISSING:
            raise BlobMissingError("the object is missing") from None
        raise StoreError(f"the object store refuses: {code}") from error
    except (BotoCoreError, OSError) as error:
        raise StoreError(f"the object store does not answer: {error}") from error
    except Exception as error:
        raise StoreError(f"the object store fails: {type(error).__name__}") from error
