"""What every store of bytes does: the directory, and object storage that a real S3 server plays."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from synapse_lite.media.breaker import FAILURES, BreakerStore
from synapse_lite.media.directory import DirectoryStore
from synapse_lite.media.incoming import Incoming, Received, delete_stale
from synapse_lite.media.s3 import S3Store
from synapse_lite.media.s3_connections import limit_heads
from synapse_lite.media.store import BlobMissingError, BlobStore, StoreError
from tests.media.s3 import KEYS, s3_server


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "blobs")
    url = request.getfixturevalue("s3_url")
    return S3Store("media", prefix=f"{tmp_path.name}/", connections=4, endpoint_url=url, **KEYS)


def received(directory: Path, data: bytes) -> Received:
    incoming = Incoming(directory / "incoming")
    incoming.write(data)
    return incoming.finish()


def put(store: BlobStore, directory: Path, data: bytes) -> bytes:
    one = received(directory, data)
    store.put(one.sha256, one.path)
    assert not one.path.exists()
    return one.sha256


def test_put_and_read(store: BlobStore, tmp_path: Path) -> None:
    """What is put is read, from any place, and again after the same was put twice."""
    for data in (b"", b"hello", os.urandom(300_000)):
        sha256 = put(store, tmp_path, data)
        assert sha256 == hashlib.sha256(data).digest()
        put(store, tmp_path, data)
        for start in {0, len(data) // 2}:
            with store.open(sha256, start) as reading:
                read = b""
                while chunk := reading.read(100_000):
                    read += chunk
            assert read == data[start:]
        with store.as_file(sha256, tmp_path / "incoming") as path:
            assert path.read_bytes() == data
    assert list((tmp_path / "incoming").iterdir()) == []


def test_missing(store: BlobStore, tmp_path: Path) -> None:
    """What is not there is an error of its own to read, and none to delete."""
    with pytest.raises(BlobMissingError):
        store.open(bytes(32))
    store.delete([bytes(32)])
    sha256 = put(store, tmp_path, b"hello")
    store.delete([sha256, bytes(32)])
    with pytest.raises(BlobMissingError):
        store.open(sha256)


def test_walk(store: BlobStore, tmp_path: Path) -> None:
    """All bytes are found by the beginning of their hashes."""
    expected = {put(store, tmp_path, bytes([number])): 1 for number in range(50)}
    found = {one.sha256: one.size for digit in "0123456789abcdef" for one in store.walk(digit)}
    assert found == expected
    first = next(iter(expected)).hex()
    assert [one.sha256.hex() for one in store.walk(first)] == [first]


def test_a_store_that_is_away(tmp_path: Path) -> None:
    """Nobody listens, no such bucket, no right to write: a StoreError that says so."""
    away = S3Store("media", connections=1, endpoint_url="http://127.0.0.1:9", **KEYS)
    one = received(tmp_path, b"x")
    with pytest.raises(StoreError, match="does not answer"):
        away.put(one.sha256, one.path)
    assert one.path.exists()
    (tmp_path / "file").write_bytes(b"")
    blocked = DirectoryStore(tmp_path / "file" / "blobs")
    with pytest.raises(StoreError, match="fails"):
        blocked.put(one.sha256, one.path)


def test_no_room_for_a_copy(s3_url: str, tmp_path: Path) -> None:
    """What an object store has is copied for who needs a file: that this host has no room is no fault of the store."""
    objects = S3Store("media", prefix=f"{tmp_path.name}/", connections=4, endpoint_url=s3_url, **KEYS)
    sha256 = put(objects, tmp_path, os.urandom(1_000_000))
    store = BreakerStore(objects, lambda: 0.0)
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        for _ in range(2 * FAILURES):
            with pytest.raises(StoreError, match="No space left"), store.as_file(sha256, disk):
                pass
        assert list(disk.iterdir()) == []
        with pytest.raises(StoreError, match="Not a directory"), store.as_file(sha256, Path("/dev/null/x")):
            pass
        with store.as_file(sha256, tmp_path / "incoming") as path:
            assert path.stat().st_size == 1_000_000
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_stale_files(tmp_path: Path) -> None:
    """What was not written to for an hour is deleted, what is being written is not."""
    old, new = Incoming(tmp_path), Incoming(tmp_path)
    for one in (old, new):
        one.write(b"x")
    assert old._path is not None
    os.utime(old._path, (1, 1))
    assert delete_stale(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [new._path]
    new.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_botocore_that_is_built_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    """The server starts with it all the same, and says what is not limited."""
    limit_heads(SimpleNamespace())
    assert "this release of botocore is not known" in caplog.text
