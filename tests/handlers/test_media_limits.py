"""Media at the limits: a full disk, very many files, names and files made to deceive."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.errors import MatrixError
from synapse_lite.matrix.media import clean_name, content_disposition, name_of
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.tasks.actions.media_cleanup import clean_media
from synapse_lite.tasks.actions.media_retention import MediaLifetimes, expire_media
from tests.builders import SERVER
from tests.handlers.media_home import media_home
from tests.handlers.test_media_thumbnails import encoded, photo, read
from tests.tasks.media import Shelf

MANY = 100_000
STEP = 100
SCRIPT = b"<script>alert(1)</script>"
SEPARATORS = "/\\:;,\"'%&=?#<>|*` \t\r\n\0"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@ensureDeferred
async def test_a_full_disk(database: Database, small_disk: Path) -> None:
    """What does not fit is 503, and leaves nothing; downloads go on; with room again uploads do, too."""
    async with media_home(database, small_disk) as home:
        kept = await home.upload(b"a" * 900_000)
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * 900_000)
        for _ in range(3):
            with pytest.raises(MatrixError) as refused:
                await home.upload(b"b" * 900_000)
            assert (refused.value.status, refused.value.errcode) == (503, "M_UNKNOWN")
        assert "retry_after_ms" in refused.value.extra
        while len([path for path in home.files() if path != ballast]) > 1:  # threads throw them away
            await home.threads.run(lambda: None)
        assert await home.download(kept) == b"a" * 900_000
        ballast.unlink()
        later = await home.upload(b"b" * 900_000)
        assert await home.download(later) == b"b" * 900_000


@ensureDeferred
async def test_thumbnails_on_a_full_disk(database: Database, small_disk: Path) -> None:
    """503 and nothing left, and nothing remembered against the picture: with room again there are thumbnails."""
    async with media_home(database, small_disk) as home:
        pictures = [
            await home.upload(encoded(photo(700, 500), kind), content_type=f"image/{kind.lower()}")
            for kind in ("PNG", "GIF")
        ]
        before = home.files()
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        for mxc in pictures:
            with pytest.raises(MatrixError) as refused:
                await home.thumbnail(mxc, 32, 32, "crop")
            assert (refused.value.status, refused.value.errcode) == (503, "M_UNKNOWN")
        while [path for path in home.files() if path != ballast] != before:  # threads throw it away
            await home.threads.run(lambda: None)
        ballast.unlink()
        for mxc in pictures:
            assert read((await home.thumbnail(mxc, 32, 32, "crop"))[1]).size == (32, 32)


@pytest.mark.new_database
@ensureDeferred
async def test_very_many_files(database: Database, tmp_path: Path) -> None:
    """A step of a periodic task reads about as many rows as it may change, however many there are."""
    shelf = Shelf(database, tmp_path)
    await shelf.execute(
        "INSERT INTO media_blobs (sha256, size, stored) SELECT sha256(n::text::bytea), 1, true"
        f" FROM generate_series(1, {MANY}) n"
    )
    await shelf.execute(
        "INSERT INTO media (origin, media_id, sha256, size, user_id, media_type, created_ts, last_access_ts,"
        f" authenticated) SELECT %s, 'm' || n, sha256(n::text::bytea), 1, %s, 'text/plain', 1, n, true"
        f" FROM generate_series(1, {MANY}) n",
        SERVER,
        "@alice:hs.test",
    )
    await shelf.execute("ANALYZE media, media_blobs, media_quarantine")
    cleanup = clean_media(shelf.clock, shelf.store, shelf.incoming)
    expiry = expire_media(shelf.clock, SERVER, MediaLifetimes(local_ms=1, remote_ms=1))

    def step(txn: Transaction, part: Any) -> tuple[int, int | None, int]:
        before = rows_read(txn)
        done, after = part(txn, 0, STEP)
        return done, after, rows_read(txn) - before

    for name, part in cleanup.parts.items():
        done, after, cost = await database.transact(step, part)
        assert (name, done, after) == (name, 0, None)
        assert cost <= STEP, name
    assert await shelf.rows("SELECT count(*) FROM media") == [(MANY,)]
    done, _, cost = await database.transact(step, expiry.parts["local"])
    assert done == STEP
    assert cost <= 20 * STEP
    for name in ("blobs", "blobs"):  # marked, then deleted
        done, _, cost = await database.transact(step, cleanup.parts[name])
        assert cost <= 20 * STEP
    assert done == STEP
    assert await shelf.rows("SELECT count(*) FROM media_blobs") == [(MANY - STEP,)]


def rows_read(txn: Transaction) -> int:
    """By this transaction, of tables of media."""
    read: int = txn.value(
        "SELECT coalesce(sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)), 0)::bigint"
        " FROM pg_stat_xact_user_tables WHERE relname LIKE 'media%%'"
    )
    return read


@pytest.mark.parametrize("code", [*range(0x20), 0x7F, *range(0x80, 0xA0), 0x2028, 0x2029, 0x202E, 0x2066])
def test_control_characters_in_names(code: int) -> None:
    """They are in no header, and a name of nothing else is none."""
    assert clean_name(f"a{chr(code)}b.txt") == "ab.txt"
    assert clean_name(chr(code) * 3) is None


@pytest.mark.parametrize("separator", SEPARATORS)
def test_separators_in_names(separator: str) -> None:
    """Whatever separates parts of paths, headers and command lines: what is sent reads as what is kept."""
    kept = clean_name(f"first{separator}é last")
    assert kept is not None
    assert not {"/", "\\", "\r", "\n", "\0"} & set(kept)
    assert name_of(content_disposition("text/plain", kept)) == kept
    ascii_name = clean_name(f"first{separator}last")
    assert ascii_name is not None
    assert name_of(content_disposition("text/plain", ascii_name)) == ascii_name


JPEG = encoded(photo(640, 480), "JPEG")
POLYGLOTS = {
    "png and html": encoded(photo(640, 480)) + SCRIPT,
    "jpeg and html": JPEG + SCRIPT,
    "gif and script": encoded(photo(640, 480), "GIF") + b"*/=1;" + SCRIPT,
    "jpeg and zip": JPEG + b"PK\x03\x04" + SCRIPT,
    "script in a comment": JPEG[:2] + b"\xff\xfe\x00\x1b" + SCRIPT + JPEG[2:],
}


@ensureDeferred
async def test_polyglots(database: Database, tmp_path: Path) -> None:
    """A picture that is something else besides: its thumbnails are pictures and nothing else."""
    async with media_home(database, tmp_path) as home:
        for name, data in POLYGLOTS.items():
            mxc = await home.upload(data, content_type="image/png")
            assert await home.download(mxc) == data
            media_type, made = await home.thumbnail(mxc, 32, 32, "crop")
            assert media_type in {"image/png", "image/jpeg", "image/webp"}, name
            assert read(made).size == (32, 32)
            assert b"<script" not in made
