"""Object storage behind a bad line: slow, cut, overloaded, away."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.media import breaker, s3, s3_connections
from synapse_lite.media.store import StoreError
from synapse_lite.media.threads import THREADS
from synapse_lite.storage.media.blobs import HOLD_MS
from tests.handlers.test_media_thumbnails import encoded, photo, read
from tests.http.memory import Answer
from tests.media.bad_line import WELL, BadLine, Mood, bad_line
from tests.media.s3 import object_names, s3_server
from tests.rest.conftest import BuildServer
from tests.rest.test_media import NEW, OLD, refusal, upload
from tests.rest.test_media_s3 import BUCKET, DATA, clean, files_below, provider
from tests.server import OPEN, TestServer
from tests.tasks.media import Shelf

PICTURE = encoded(photo(640, 480), "JPEG")
BUSY = (503, "M_UNKNOWN")


def says(status: str, code: str) -> Mood:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return Mood(answer=f"{head}Connection: close\r\n\r\n{body}".encode())


TROUBLES = {
    "silent": Mood(silent=True),
    "away": Mood(refuses=True),
    "error": says("500 Internal Server Error", "InternalError"),
    "slow down": says("503 Slow Down", "SlowDown"),
    "cut": Mood(cut_after=10),
    "slow": Mood(bytes_a_second=20_000),
}


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[BadLine]:
    """To a store that is there; who waits for it waits a moment only, and asks each time."""
    for name, seconds in (("READ_SECONDS", 1.0), ("PIECE_SECONDS", 1.0), ("FILE_SECONDS", 1.0)):
        monkeypatch.setattr(s3, name, seconds)
    monkeypatch.setattr(s3, "FILE_BYTES_A_SECOND", 1e12)
    monkeypatch.setattr(s3_connections, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 0.0)
    with s3_server(BUCKET) as url, bad_line(url) as line:
        yield line


async def start(build_server: BuildServer, line: BadLine, directory: Path) -> tuple[TestServer, str]:
    server = await build_server(**OPEN, **provider(line.url), media_store_path=str(directory))
    return server, await server.user("alice")


def stored(line: BadLine) -> list[str]:
    host, port = line.upstream
    return sorted(object_names(f"http://{host}:{port}", BUCKET))


def digest(*files: bytes) -> list[str]:
    return sorted(hashlib.sha256(file).hexdigest() for file in files)


async def is_tidy(server: TestServer, directory: Path) -> bool:
    """Threads throw away what was received."""
    for _ in range(100):
        if not files_below(directory):
            return True
        await server.core.media.threads.run(lambda: None)
    return False


@pytest.mark.parametrize("trouble", TROUBLES)
@ensureDeferred
async def test_trouble(build_server: BuildServer, line: BadLine, tmp_path: Path, trouble: str) -> None:
    """Each way of asking is 503 while it lasts, leaves nothing, and works when it is over."""
    server, token = await start(build_server, line, tmp_path)
    media = await upload(server, token, DATA)
    picture = await upload(server, token, PICTURE, content_type="image/jpeg")
    thumbnail = f"{NEW}/thumbnail/{picture}?width=32&height=32&method=crop"
    shelf = Shelf(server.database, tmp_path)
    part = {"Range": "bytes=1000000-1999999"}

    async def get(path: str, **headers: str) -> Answer:
        return await server.call("GET", path, token=token, headers=headers)

    line.mood = TROUBLES[trouble]
    refused = await gatherResults(
        [
            Deferred.fromCoroutine(asked)
            for asked in (
                server.call("POST", f"{OLD}/upload", DATA[1:], token),
                get(f"{NEW}/download/{media}"),
                get(f"{NEW}/download/{media}", **part),
                get(thumbnail),
            )
        ]
    )
    assert [refusal(answer) for answer in refused] == 4 * [BUSY]
    assert all("Retry-After" in answer.headers for answer in refused)
    assert await is_tidy(server, tmp_path)
    assert len(await shelf.ids()) == 2
    line.mood = WELL
    assert (await get(f"{NEW}/download/{media}")).body == DATA
    assert (await get(f"{NEW}/download/{media}", **part)).body == DATA[1_000_000:2_000_000]
    assert read((await get(thumbnail)).body).size == (32, 32)
    assert len(await shelf.rows("SELECT 1 FROM media_blobs WHERE image_error IS NOT NULL")) == 0
    await upload(server, token, DATA[1:])
    assert {*digest(DATA, PICTURE, DATA[1:])} < {*stored(line)}


@pytest.mark.parametrize("trouble", TROUBLES)
@ensureDeferred
async def test_deletion(build_server: BuildServer, line: BadLine, tmp_path: Path, trouble: str) -> None:
    """The task fails and forgets nothing; when the store is back all of it goes, also what arrived without an answer."""
    server, token = await start(build_server, line, tmp_path)
    media = await upload(server, token, DATA)
    shelf = Shelf(server.database, tmp_path)
    line.mood = TROUBLES[trouble]
    assert refusal(await server.call("POST", f"{OLD}/upload", DATA[1:], token)) == BUSY
    await shelf.delete(media.rpartition("/")[2])
    # A small request goes through a slow line.
    if trouble != "slow":
        with pytest.raises(StoreError):
            await clean(server, shelf)
        assert await shelf.rows(
            "SELECT 1 FROM media_blobs WHERE encode(sha256, 'hex') = ANY(%s)", digest(DATA)
        )
    line.mood = WELL
    server.clock.step(2 * HOLD_MS / 1000)
    await clean(server, shelf)
    assert not {*digest(DATA, DATA[1:])} & {*stored(line)}
    assert await shelf.rows("SELECT 1 FROM media_blobs") == []


@ensureDeferred
async def test_others_are_served(
    build_server: BuildServer, line: BadLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While more wait for the store than there are threads for it, whoever wants something else has it."""
    monkeypatch.setattr(s3, "READ_SECONDS", 600.0)
    server, token = await start(build_server, line, tmp_path)
    media = await upload(server, token, DATA)
    line.mood = Mood(silent=True)
    waiting: list[Deferred[Any]] = [
        Deferred.fromCoroutine(server.call("GET", f"{NEW}/download/{media}", token=token))
        for _ in range(3 * THREADS)
    ]
    room = await server.room(token)
    await server.ok("PUT", f"{room}/send/m.room.message/1", {"body": "hello", "msgtype": "m.text"}, token)
    assert not any(one.called for one in waiting)
    line.mood = Mood(refuses=True)
    line.hang_up()
    assert {refusal(answer) for answer in await gatherResults(waiting)} == {BUSY}
