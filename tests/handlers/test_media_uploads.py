"""Uploads: what is stored, what is refused, and what is left behind: nothing."""

import hashlib
import resource
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from synapse_lite.errors import MatrixError
from synapse_lite.handlers.media.uploads import Quota, Uploads
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.matrix.media import Mxc
from synapse_lite.storage.database import Database
from synapse_lite.storage.media import files
from tests.builders import ALICE, BOB, SERVER
from tests.handlers.media_home import Generous, MediaHome, Unending, chunks, media_home, who
from tests.http.memory import ManualClock

HELLO = b"hello"
DAY_MS = 24 * 3600 * 1000


async def fill(home: MediaHome, mxc: Mxc, data: bytes, user_id: str = ALICE) -> None:
    body = chunks(data)
    await home.uploads.fill(who(user_id), mxc, body, length=len(data), content_type="text/plain", name=None)


async def refusal(asking: Awaitable[object]) -> tuple[int, str]:
    """Status and errcode of the error that it ends with."""
    with pytest.raises(MatrixError) as refused:
        await asking
    return refused.value.status, refused.value.errcode


@ensureDeferred
async def test_round_trip(database: Database, tmp_path: Path) -> None:
    """What was uploaded comes back, whatever its size, with its name and type."""
    async with media_home(database, tmp_path) as home:
        for size in (0, 1, 100_000, 999_999):
            data = bytes(range(256)) * (size // 256 + 1)
            mxc = await home.upload(data[:size], name="a.bin", content_type="image/png")
            assert await home.download(mxc) == data[:size]
            ((name, media_type, stored),) = await home.rows(
                "SELECT upload_name, media_type, size FROM media WHERE media_id = %s", mxc.media_id
            )
            assert (name, media_type, stored) == ("a.bin", "image/png", size)


@ensureDeferred
async def test_equal_bytes_are_stored_once(database: Database, tmp_path: Path) -> None:
    """Uploads of the same bytes are media of their own and one file."""
    async with media_home(database, tmp_path) as home:
        mxcs = [await home.upload(HELLO), await home.upload(HELLO, user_id=BOB), await home.upload(b"other")]
        assert len(set(mxcs)) == 3
        assert [await home.download(mxc) for mxc in mxcs] == [HELLO, HELLO, b"other"]
        assert sorted(path.name for path in home.files()) == sorted(
            hashlib.sha256(data).hexdigest() for data in (HELLO, b"other")
        )


@ensureDeferred
async def test_too_large(database: Database, tmp_path: Path) -> None:
    """Too much is 413 by the announced length and by the count of bytes; nothing is left."""
    async with media_home(database, tmp_path, max_bytes=300_000) as home:
        for length in (300_001, None):
            body = chunks(*4 * [b"x" * 100_000])
            with pytest.raises(MatrixError) as refused:
                await home.uploads.upload(who(), body, length=length, content_type="", name=None)
            assert (refused.value.status, refused.value.errcode) == (413, "M_TOO_LARGE")
        while home.files():  # threads throw them away
            await home.threads.run(lambda: None)
        assert await home.rows("SELECT 1 FROM media_blobs") == []


@ensureDeferred
async def test_uploads_that_stop_half_way(database: Database, tmp_path: Path) -> None:
    """A body that breaks off, and a client that goes away, leave neither file nor row."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 600_000
        raise ConnectionError

    async def stalled() -> AsyncIterator[bytes]:
        yield b"x" * 600_000
        await silence

    silence: Deferred[None] = Deferred()
    async with media_home(database, tmp_path) as home:
        with pytest.raises(ConnectionError):
            await home.uploads.upload(who(), broken(), length=None, content_type="", name=None)
        going = Deferred.fromCoroutine(
            home.uploads.upload(who(), stalled(), length=None, content_type="", name=None)
        )
        while not home.files():
            await home.clock.sleep(0.01)
        going.cancel()
        with pytest.raises(CancelledError):
            await going
        while home.files():  # the threads are on their way
            await home.clock.sleep(0.01)
        assert await home.rows("SELECT 1 FROM media UNION ALL SELECT 1 FROM media_blobs") == []


@ensureDeferred
async def test_quota(database: Database, tmp_path: Path) -> None:
    """What a user may upload within a time is limited, by the announced length and by what arrives."""
    clock = ManualClock()
    quotas = (Quota(DAY_MS, 10), Quota(10 * DAY_MS, 15))
    async with media_home(database, tmp_path, clock=clock, quotas=quotas) as home:
        clock.advance(100)
        await home.upload(b"12345")
        await home.upload(b"67890")
        for length in (1, None):
            with pytest.raises(MatrixError) as refused:
                await home.uploads.upload(who(), chunks(b"x"), length=length, content_type="", name=None)
            assert refused.value.errcode == "M_RESOURCE_LIMIT_EXCEEDED"
        await home.upload(b"1234567890", user_id=BOB)
        clock.advance(DAY_MS / 1000 + 1)
        await home.upload(b"abcde")
        with pytest.raises(MatrixError):
            await home.upload(b"f")


@ensureDeferred
async def test_quota_of_reserved_names(database: Database, tmp_path: Path) -> None:
    """What counts is when the bytes came, however long ago their name was reserved."""
    clock = ManualClock()
    async with media_home(
        database, tmp_path, clock=clock, quotas=[Quota(1000, 10)], reserved_ms=DAY_MS
    ) as home:
        made = [await home.uploads.create(who()) for _ in range(3)]
        clock.advance(2)
        first, second, _ = (Mxc(SERVER, one["content_uri"].rpartition("/")[2]) for one in made)
        await fill(home, first, b"1234567890")
        assert await refusal(fill(home, second, b"1")) == (403, "M_RESOURCE_LIMIT_EXCEEDED")
        assert await home.rows("SELECT created_ts FROM media WHERE size IS NOT NULL") == [(clock.now_ms(),)]


@ensureDeferred
async def test_reserved_names(database: Database, tmp_path: Path) -> None:
    """A reserved name is filled once, by who reserved it, before it expires; unfilled ones are few."""
    clock = ManualClock()
    async with media_home(database, tmp_path, clock=clock) as home:
        made = await home.uploads.create(who())
        assert made["unused_expires_at"] == clock.now_ms() + 60_000
        mxc = Mxc(SERVER, made["content_uri"].rpartition("/")[2])

        assert await refusal(fill(home, mxc, HELLO, BOB)) == (403, "M_FORBIDDEN")
        assert await refusal(fill(home, Mxc(SERVER, "unknown"), HELLO)) == (404, "M_NOT_FOUND")
        await fill(home, mxc, HELLO)
        assert await refusal(fill(home, mxc, HELLO)) == (409, "M_CANNOT_OVERWRITE_MEDIA")
        assert await home.download(mxc) == HELLO
        late = [(await home.uploads.create(who()))["content_uri"] for _ in range(3)]
        with pytest.raises(MatrixError) as refused:
            await home.uploads.create(who())
        assert refused.value.status == 429
        await home.uploads.create(who(BOB))
        expired = Mxc(SERVER, late[0].rpartition("/")[2])
        assert await refusal(home.download(expired, timeout_ms=0)) == (504, "M_NOT_YET_UPLOADED")
        clock.advance(61)
        assert await refusal(home.download(expired, timeout_ms=0)) == (404, "M_NOT_FOUND")
        assert await refusal(fill(home, expired, HELLO)) == (404, "M_NOT_FOUND")
        await home.uploads.create(who())


@ensureDeferred
@pytest.mark.parametrize("is_cleaned", [False, True])
async def test_a_name_that_expires_while_it_is_filled(
    database: Database, tmp_path: Path, is_cleaned: bool
) -> None:
    """As one that had expired before, whether its row is there still or not."""
    clock = ManualClock()
    async with media_home(database, tmp_path, clock=clock) as home:
        mxc = Mxc(SERVER, (await home.uploads.create(who()))["content_uri"].rpartition("/")[2])

        async def slowly() -> AsyncIterator[bytes]:
            yield HELLO
            clock.advance(61)
            if is_cleaned:
                await database.transact(files.delete_expired_reservations, clock.now_ms(), 10)

        filling = home.uploads.fill(who(), mxc, slowly(), length=5, content_type="text/plain", name=None)
        assert await refusal(filling) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_waiting_for_an_upload(database: Database, tmp_path: Path) -> None:
    """Who asks for a reserved name gets the bytes as soon as they are there, or 504 after the time asked for."""
    clock = ManualClock()
    async with media_home(database, tmp_path, clock=clock) as home:
        made = await home.uploads.create(who())
        mxc = Mxc(SERVER, made["content_uri"].rpartition("/")[2])
        first = Deferred.fromCoroutine(home.download(mxc, timeout_ms=1000))
        second = Deferred.fromCoroutine(home.download(mxc, timeout_ms=30_000))
        while len(home.bus._callbacks["media"]) < 2:
            await home.library.threads.run(lambda: None)
        clock.advance(1)
        with pytest.raises(MatrixError) as late:
            await first
        assert (late.value.status, late.value.errcode) == (504, "M_NOT_YET_UPLOADED")
        await home.uploads.fill(who(), mxc, chunks(HELLO), length=5, content_type="", name=None)
        assert await second == HELLO


@ensureDeferred
async def test_what_is_not_to_be_seen(database: Database, tmp_path: Path) -> None:
    """Unknown, malformed and remote names are 404; authenticated media too, without a token."""
    async with media_home(database, tmp_path) as home:
        rules = attrs.evolve(home.rules, authenticated=False)
        limiter = RateLimiter(home.clock, Generous())
        new = await home.upload(HELLO)
        home.uploads = Uploads(home.library, home.media_rows, home.bus, Unending(), limiter, rules)
        public = await home.upload(HELLO)
        assert await home.download(public, token_given=False) == HELLO
        for mxc, options in (
            (new, {"token_given": False}),
            (Mxc(SERVER, "unknown"), {}),
            (Mxc("else.test", "unknown"), {}),
            (Mxc("../..", "x"), {}),
            (Mxc(SERVER, "../../etc/passwd"), {}),
        ):
            with pytest.raises(MatrixError) as refused:
                await home.download(mxc, **options)
            assert (refused.value.status, refused.value.errcode) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_a_file_that_is_gone(database: Database, tmp_path: Path) -> None:
    """Bytes that vanished from the disk are 404 and counted, and the next upload of the same brings them back."""
    async with media_home(database, tmp_path) as home:
        mxc = await home.upload(HELLO)
        home.files()[0].unlink()
        with pytest.raises(MatrixError) as missing:
            await home.download(mxc)
        assert missing.value.status == 404
        with pytest.raises(MatrixError):
            await home.thumbnail(mxc, 32, 32)
        (counted,) = home.library.missing.collect()
        assert counted.samples[0].value == 2
        await home.upload(HELLO)
        assert await home.download(mxc) == HELLO


@ensureDeferred
async def test_a_disk_that_takes_no_more(database: Database, tmp_path: Path) -> None:
    """What cannot be written is 503, leaves nothing behind, and does not stop those whose files fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with media_home(database, tmp_path) as home:
        kept = await home.upload(HELLO)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        try:
            refusals = gatherResults(
                [Deferred.fromCoroutine(_refusal(home, b"x" * 600_000)) for _ in range(4)]
            )
            fitting = await home.upload(b"y" * 200_000)
            assert await refusals == 4 * [(503, "M_UNKNOWN")]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert await home.download(fitting) == b"y" * 200_000
        assert await home.download(kept) == HELLO
        assert len(home.files()) == 2
        assert len(await home.rows("SELECT 1 FROM media")) == 2


async def _refusal(home: MediaHome, data: bytes) -> tuple[int, str]:
    with pytest.raises(MatrixError) as refused:
        await home.upload(data)
    return refused.value.status, refused.value.errcode
