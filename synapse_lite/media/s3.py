"""Media in S3-compatible object storage, for servers of several hosts; needs the extra `s3`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from synapse_lite.media.store import BlobMissingError, Found, LocalDiskError, Reading, StoreError, hash_of

CONNECT_SECONDS = 3
READ_SECONDS = 8
ATTEMPTS = 2
DELETE_AT_ONCE = 1000
PIECE_BYTES = 256 * 1024
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})


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

    def check(self) -> None:
        """Only who has asked knows (`BreakerStore`)."""

    def put(self, sha256: bytes, path: Path) -> None:
        with _as_store_errors(), path.open("rb") as file:
            self._client.upload_fileobj(file, self._bucket, self._key(sha256))
        path.unlink(missing_ok=True)

    def open(self, sha256: bytes, start: int = 0) -> Reading:
        with _as_store_errors():
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._key(sha256), **({"Range": f"bytes={start}-"} if start else {})
            )
        return _Object(answer["Body"])

    def open_now(self, _sha256: bytes, _start: int = 0) -> None:
        """All of it is elsewhere."""

    @contextmanager
    def as_file(self, sha256: bytes, directory: Path) -> Iterator[Path]:
        with _as_disk_errors():
            directory.mkdir(parents=True, exist_ok=True)
            file = NamedTemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 (closed below)
        with file:
            with self.open(sha256) as reading:
                while data := reading.read(PIECE_BYTES):
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


class _Object:
    """The body of an answer of the store."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int, /) -> bytes:
        with _as_store_errors():
            data: bytes = self._body.read(size)
        return data

    def close(self) -> None:
        self._body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


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
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _MISSING:
            raise BlobMissingError("the object is missing") from None
        raise StoreError(f"the object store refuses: {code}") from error
    except (BotoCoreError, OSError) as error:
        raise StoreError(f"the object store does not answer: {error}") from error
    except Exception as error:
        raise StoreError(f"the object store fails: {type(error).__name__}") from error
