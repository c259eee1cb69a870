"""Object storage whose answers begin well: cut in the middle, byte by byte, or of an object that is not what it was."""

import hashlib
from functools import partial
from pathlib import Path

import boto3
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from synapse_lite.media import breaker
from synapse_lite.media.breaker import FAILURES
from synapse_lite.media.store import StoreError
from tests.http.memory import Connection
from tests.media.bad_line import WELL, BadLine, Mood
from tests.media.s3 import KEYS
from tests.rest.conftest import BuildServer
from tests.rest.test_media import NEW, OLD, refusal, upload
from tests.rest.test_media_s3 import BUCKET, DATA, files_below
from tests.rest.test_media_s3_trouble import BUSY, PICTURE, is_tidy, line, start
from tests.server import TestServer

__all__ = ["line"]

PART = {"Range": "bytes=1000000-1999999"}
MISSING = (404, "M_NOT_FOUND")
TRIES = 20


async def cut_off(server: TestServer, path: str, token: str) -> bytes:
    """What a client has of a file when its connection is ended; the head promised all of it.

    It asks again where a busy machine was too slow for the first piece.
    """
    for _ in range(TRIES):
        connection = Connection(server._site)
        ended: list[bool] = []
        connection.transport.abortConnection = partial(ended.append, True)  # type: ignore[method-assign]
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        while not ended and not connection.transport.value().startswith(b"HTTP/1.1 503"):
            await deferLater(reactor, 0.01)
        head, _, body = connection.transport.value().partition(b"\r\n\r\n")
        connection.lose()
        if ended:
            assert b"Content-Length: %d" % len(DATA) in head
            return body
    raise AssertionError("no piece came in time")


def replace_object(line: BadLine, data: bytes, by: bytes) -> None:
    host, port = line.upstream
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **KEYS)
    client.put_object(Bucket=BUCKET, Key=hashlib.sha256(data).hexdigest(), Body=by)
    client.close()


@pytest.mark.parametrize("mood", [Mood(cut_after=600_000), Mood(trickles_after=600_000)])
@ensureDeferred
async def test_trouble_in_the_middle(
    build_server: BuildServer, line: BadLine, tmp_path: Path, mood: Mood
) -> None:
    """The client's connection ends short of what was promised: it knows that it has no file. Nothing is left behind."""
    server, token = await start(build_server, line, tmp_path)
    path = f"{NEW}/download/{await upload(server, token, DATA)}"
    line.mood = mood
    body = await cut_off(server, path, token)
    assert 0 < len(body) < len(DATA)
    assert DATA.startswith(body)
    line.mood = WELL
    assert (await server.call("GET", path, token=token)).body == DATA
    assert files_below(tmp_path) == []


@ensureDeferred
async def test_a_byte_at_a_time(build_server: BuildServer, line: BadLine, tmp_path: Path) -> None:
    """Who waits for the first piece is told in time, however regularly bytes come, and no thread is lost."""
    server, token = await start(build_server, line, tmp_path)
    media = await upload(server, token, DATA)
    picture = await upload(server, token, PICTURE, content_type="image/jpeg")
    download = f"{NEW}/download/{media}"
    thumbnail = f"{NEW}/thumbnail/{picture}?width=32&height=32&method=crop"
    line.mood = Mood(trickles_after=2000)
    asked = [(download, {}), (download, PART), (thumbnail, {})]
    refused = await gatherResults(
        [Deferred.fromCoroutine(server.call("GET", path, token=token, headers=more)) for path, more in asked]
    )
    assert [refusal(answer) for answer in refused] == 3 * [BUSY]
    line.mood = WELL
    assert (await server.call("GET", download, token=token)).body == DATA
    assert (await server.call("GET", thumbnail, token=token)).status == 200
    assert await is_tidy(server, tmp_path)


@ensureDeferred
async def test_a_head_byte_by_byte(build_server: BuildServer, line: BadLine, tmp_path: Path) -> None:
    """Who downloads or uploads is told before it is complete, as nobody knows whether it ever will be."""
    server, token = await start(build_server, line, tmp_path)
    path = f"{NEW}/download/{await upload(server, token, DATA)}"
    line.mood = Mood(trickles_after=0)
    assert refusal(await server.call("GET", path, token=token)) == BUSY
    post = await server.call("POST", f"{OLD}/upload", b"other bytes", token=token)
    assert refusal(post) == BUSY
    assert line.trickled
    assert b"\r\n\r\n" not in line.trickled
    line.mood = WELL
    assert (await server.call("GET", path, token=token)).body == DATA
    assert await is_tidy(server, tmp_path)


@ensureDeferred
async def test_a_list_byte_by_byte(build_server: BuildServer, line: BadLine, tmp_path: Path) -> None:
    """It is no file that somebody reads at a pace of their own: whoever looks for lost files is told in time."""
    server, _ = await start(build_server, line, tmp_path)
    for number in range(10):
        replace_object(line, b"%d" % number, b"")
    store, threads = server.core.media.store, server.core.media.threads
    line.mood = Mood(trickles_after=2000)
    with pytest.raises(StoreError):
        await threads.run(lambda: list(store.walk("")))
    assert line.trickled
    assert b"</ListBucketResult>" not in line.trickled
    line.mood = WELL
    assert len(await threads.run(lambda: list(store.walk("")))) == 10


@ensureDeferred
async def test_an_object_that_is_too_short(
    build_server: BuildServer, line: BadLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as lost, and not as a store that is away."""
    monkeypatch.setattr(breaker, "PAUSE_SECONDS", 3600.0)
    server, token = await start(build_server, line, tmp_path)
    small = DATA[:50_000]
    large, little = [await upload(server, token, data) for data in (DATA, small)]
    replace_object(line, DATA, DATA[:300_000])
    replace_object(line, small, b"short")
    for _ in range(FAILURES):
        answer = await server.call("GET", f"{NEW}/download/{large}", token=token, headers=PART)
        assert refusal(answer) == MISSING
    assert refusal(await server.call("GET", f"{NEW}/download/{little}", token=token)) == MISSING
    assert await cut_off(server, f"{NEW}/download/{large}", token) == DATA[:300_000]
    server.core.media.store.check()


@ensureDeferred
async def test_an_object_that_is_too_long(build_server: BuildServer, line: BadLine, tmp_path: Path) -> None:
    """No more is sent than was promised, and the connection goes on."""
    server, token = await start(build_server, line, tmp_path)
    media = await upload(server, token, DATA)
    replace_object(line, DATA, DATA + DATA)
    answer = await server.call("GET", f"{NEW}/download/{media}", token=token)
    assert (answer.headers["Content-Length"], answer.body) == (str(len(DATA)), DATA)
