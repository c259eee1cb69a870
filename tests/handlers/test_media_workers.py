"""The processes that decode pictures: what of their ends is about the picture, and what is not."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.matrix.media import Mxc
from synapse_lite.media.workers import MEMORY_BYTES
from synapse_lite.storage.database import Database
from tests.handlers.media_home import MediaHome, media_home
from tests.handlers.test_media_thumbnails import encoded, photo
from tests.handlers.test_media_uploads import refusal

TOO_LARGE = (413, "M_TOO_LARGE")
BUSY = (503, "M_UNKNOWN")


async def refusal_of(home: MediaHome, mxc: Mxc, number: signal.Signals) -> tuple[int, str]:
    """Of a thumbnail whose process gets that signal."""
    making = Deferred.fromCoroutine(home.thumbnail(mxc, 32, 32))
    while not any(worker._job for worker in home.workers._all):
        await home.clock.sleep(0.01)
    (worker,) = home.workers._all
    worker.transport.signalProcess(number)
    return await refusal(making)


@pytest.mark.parametrize("number", [signal.SIGXCPU, signal.SIGSEGV, signal.SIGABRT])
@ensureDeferred
async def test_a_process_that_dies_of_a_picture(
    database: Database, tmp_path: Path, number: signal.Signals
) -> None:
    """There is no thumbnail of it, now and later; the next picture finds a new process."""
    async with media_home(database, tmp_path) as home:
        mxc, other = await home.upload(encoded(photo())), await home.upload(encoded(photo(200, 200)))
        assert await refusal_of(home, mxc, number) == TOO_LARGE
        assert await refusal(home.thumbnail(mxc, 32, 32)) == TOO_LARGE
        assert (await home.thumbnail(other, 32, 32))[0] == "image/jpeg"
        assert [path for path in home.files() if path.parent == home.incoming] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@ensureDeferred
async def test_a_process_that_is_ended(database: Database, tmp_path: Path, number: signal.Signals) -> None:
    """By whoever stops the server, or has no memory left: the picture is as good as before."""
    async with media_home(database, tmp_path) as home:
        mxc = await home.upload(encoded(photo()))
        assert await refusal_of(home, mxc, number) == BUSY
        assert (await home.thumbnail(mxc, 32, 32))[0] == "image/jpeg"


@ensureDeferred
async def test_a_machine_that_has_no_time(database: Database, tmp_path: Path) -> None:
    """Says nothing of the picture."""
    async with media_home(database, tmp_path) as home:
        mxc = await home.upload(encoded(photo()))
        home.workers._seconds = 0
        assert await refusal(home.thumbnail(mxc, 32, 32)) == BUSY
        home.workers._seconds = 600
        assert (await home.thumbnail(mxc, 32, 32))[0] == "image/jpeg"


def test_a_picture_that_takes_very_long(tmp_path: Path) -> None:
    """It ends the process by the time that it takes, not by that of the clock; what came before does not count."""
    frames = [photo(1000, 300).rotate(angle) for angle in range(100)]
    source = tmp_path / "animation"
    source.write_bytes(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    job = {"job": "thumbnail", "source": str(source), "target": str(tmp_path / "small"), "width": 800}
    wishes = {"height": 600, "crop": False, "animated": True, "max_pixels": 4_000_000}
    command = [sys.executable, "-m", "synapse_lite.media.worker", str(MEMORY_BYTES)]
    measure = {"job": "measure", "source": str(source), "max_pixels": 4_000_000}
    lines = "".join(json.dumps(one) + "\n" for one in (measure, job | wishes))
    short = subprocess.run([*command, "1"], input=lines, capture_output=True, text=True, check=False)
    assert short.returncode == -signal.SIGXCPU, short
    assert len(short.stdout.splitlines()) == 1
    long = subprocess.run([*command, "600"], input=lines, capture_output=True, text=True, check=True)
    assert json.loads(long.stdout.splitlines()[1])["media_type"] == "image/webp"
