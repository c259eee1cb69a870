"""Media in object storage, over HTTP, with an S3 server that is there and one that is not."""

import hashlib
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.config.media import S3_MODULE
from synapse_lite.media import breaker, s3
from synapse_lite.media.breaker import FAILURES
from synapse_lite.media.store import StoreError
from synapse_lite.tasks.actions.media_cleanup import clean_media
from tests.handlers.test_media_thumbnails import encoded, photo, read
from tests.media.s3 import lose_object, object_names, s3_server
from tests.rest.conftest import BuildServer
from tests.rest.test_media import NEW, OLD, refusal, upload
from tests.server import OPEN, TestServer
from tests.tasks.media import Shelf

DATA = bytes(range(256)) * 8000

BUCKET = "media-over-http"


def provider(url: str) -> dict[str, Any]:
    config = {
        "bucket": BUCKET,
        "endpoint_url": url,
        "access_key_id": "key",
        "secret_access_key": "secret",
        "region_name": "us-east-1",
    }
    return {"media_storage_providers": [{"module": S3_MODULE, "config": config}]}


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def clean(server: TestServer, shelf: Shelf) -> Any:
    parts = server.core.media
    return await shelf.run(clean_media(server.clock, parts.store, parts.incoming))


@ensureDeferred
async def test_everything_streams_through(build_server: BuildServer, tmp_path: Path) -> None:
    """Whole, in part, as a thumbnail; deleted with the last reference; nothing stays on the disk."""
    with s3_server(BUCKET) as url:
        server = await build_server(**OPEN, **provider(url), media_store_path=str(tmp_path))
        token = await server.user("alice")
        media = await upload(server, token, DATA)
        assert object_names(url, BUCKET) == [hashlib.sha256(DATA).hexdigest()]
        path = f"{NEW}/download/{media}"
        assert (await server.call("GET", path, token=token)).body == DATA
        part = await server.call("GET", path, token=token, headers={"Range": "bytes=1000000-1999999"})
        assert (part.status, part.body) == (206, DATA[1_000_000:2_000_000])
        picture = await upload(server, token, encoded(photo(), "JPEG"), content_type="image/jpeg")
        thumbnail = f"{NEW}/thumbnail/{picture}?width=32&height=32&method=crop"
        answer = await server.call("GET", thumbnail, token=token)
        assert read(answer.body).size == (32, 32)
        assert len(object_names(url, BUCKET)) == 3
        shelf = Shelf(server.database, tmp_path)
        await shelf.delete(*(one.rpartition("/")[2] for one in (media, picture)))
        await clean(server, shelf)
        assert object_names(url, BUCKET) == []
        assert files_below(tmp_path) == []


@ensureDeferred
async def test_a_store_that_is_away(build_server: BuildServer, tmp_path: Path) -> None:
    """Uploads and downloads are 503 and leave nothing; a deletion waits until the store is there again."""
    with s3_server(BUCKET) as url:
        server = await build_server(**OPEN, **provider(url), media_store_path=str(tmp_path))
        token = await server.user("alice")
        media = await upload(server, token, DATA)
    shelf = Shelf(server.database, tmp_path)
    assert refusal(await server.call("POST", f"{OLD}/upload", b"x", token)) == (503, "M_UNKNOWN")
    assert refusal(await server.call("GET", f"{NEW}/download/{media}", token=token)) == (503, "M_UNKNOWN")
    assert len(await shelf.ids()) == 1
    while list((tmp_path / "incoming").iterdir()):  # threads throw it away
        await server.core.media.threads.run(lambda: None)
    await shelf.delete(media.rpartition("/")[2])
    failed = False
    try:
        await clean(server, shelf)
    except StoreError:
        failed = True
    assert failed
    sha256 = hashlib.sha256(DATA).digest()
    assert await shelf.rows("SELECT 1 FROM media_blobs WHERE sha256 = %s", sha256) != []


@ensureDeferred
async def test_what_the_store_has_lost(build_server: BuildServer, tmp_path: Path) -> None:
    """A thumbnail is made anew, after one 503; a file is 404, and so is a thumbnail of it."""
    with s3_server(BUCKET) as url:
        server = await build_server(**OPEN, **provider(url), media_store_path=str(tmp_path))
        token = await server.user("alice")
        data = encoded(photo(), "JPEG")
        picture = await upload(server, token, data, content_type="image/jpeg")
        thumbnail = f"{NEW}/thumbnail/{picture}?width=32&height=32&method=crop"
        made = (await server.call("GET", thumbnail, token=token)).body
        lose_object(url, BUCKET, hashlib.sha256(made).hexdigest())
        lost = await server.call("GET", thumbnail, token=token)
        assert (refusal(lost), "Retry-After" in lost.headers) == ((503, "M_UNKNOWN"), True)
        assert (await server.call("GET", thumbnail, token=token)).body == made
        lose_object(url, BUCKET, hashlib.sha256(data).hexdigest())
        for path in (
            f"{NEW}/download/{picture}",
            f"{NEW}/thumbnail/{picture}?width=96&height=96&method=crop",
        ):
            assert refusal(await server.call("GET", path, token=token)) == (404, "M_NOT_FOUND")
        assert files_below(tmp_path) == []


@ensureDeferred
async def test_a_store_that_stalls(build_server: BuildServer, tmp_path: Path, monkeypatch) -> None:
    """Few wait for a store that takes connections and says nothing; then everybody is told at once, and nothing is left."""
    monkeypatch.setattr(s3, "READ_SECONDS", 0.3)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 3600.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        server = await build_server(**OPEN, **provider(url), media_store_path=str(tmp_path))
        token = await server.user("alice")
        for _ in range(FAILURES):
            assert refusal(await server.call("POST", f"{OLD}/upload", DATA, token)) == (503, "M_UNKNOWN")
        silent.settimeout(0.1)
        asked = connections(silent)
        answers = await gatherResults(
            [Deferred.fromCoroutine(server.call("POST", f"{OLD}/upload", DATA, token)) for _ in range(20)]
        )
        assert {refusal(answer) for answer in answers} == {(503, "M_UNKNOWN")}
        assert {answer.headers["Retry-After"] for answer in answers} == {"2"}
        assert asked >= FAILURES
        assert connections(silent) == 0
    assert files_below(tmp_path) == []
    assert await Shelf(server.database, tmp_path).ids() == []


def connections(listener: socket.socket) -> int:
    """How many came since the last look."""
    found = 0
    with suppress(TimeoutError):
        while True:
            listener.accept()[0].close()
            found += 1
    return found
