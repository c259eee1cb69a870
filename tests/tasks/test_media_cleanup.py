"""Bytes and rows agree: what nothing refers to goes, what anything refers to stays."""

import itertools
import os
from hashlib import sha256
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.media.store import StoreError
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.media import blobs, fetches, files
from synapse_lite.storage.media.files import NewMedia
from synapse_lite.storage.media.thumbnails import Box, Thumbnail, add_thumbnail
from synapse_lite.tasks.actions.cleanup import Cleanup
from synapse_lite.tasks.actions.media_cleanup import YOUNG_MS, AuditMedia, AuditParams, clean_media
from tests.builders import SERVER
from tests.tasks.media import Shelf

HOUR_S = 3601
BOX = Box(32, 32, "crop", False)


def cleanup(shelf: Shelf) -> Cleanup:
    return clean_media(shelf.clock, shelf.store, shelf.incoming)


@pytest.mark.parametrize("order", list(itertools.permutations(("a", "b", "c"))))
@ensureDeferred
async def test_the_last_reference_takes_the_bytes_along(
    database: Database, tmp_path: Path, order: tuple[str, ...]
) -> None:
    """Whoever of those who have the same bytes goes first, they stay for the others."""
    shelf = Shelf(database, tmp_path)
    await shelf.add("a", b"same")
    await shelf.add("b", b"same", user_id="@bob:hs.test")
    await shelf.add("c", b"same", origin="else.test", user_id=None)
    for media_id in order:
        await shelf.run(cleanup(shelf))
        assert shelf.has(b"same")
        await shelf.delete(media_id)
    assert (await shelf.run(cleanup(shelf)))["blobs"] == 1
    assert not shelf.has(b"same")
    assert await shelf.rows("SELECT 1 FROM media_blobs") == []


@ensureDeferred
async def test_thumbnails_go_with_their_source(database: Database, tmp_path: Path) -> None:
    """The bytes of thumbnails are kept by their source alone; a source that serves as its own thumbnail too."""
    shelf = Shelf(database, tmp_path)
    await shelf.add("a", b"source")
    source, small = shelf.put(b"source"), shelf.put(b"small")

    def write(txn: Transaction) -> None:
        blobs.hold(txn, small, 5, shelf.clock.now_ms())
        now_ms = shelf.clock.now_ms()
        assert add_thumbnail(txn, source, BOX, Thumbnail("image/webp", small, 5), now_ms)
        assert add_thumbnail(txn, source, Box(9, 9, "crop", False), Thumbnail("image/png", source, 6), now_ms)

    await database.transact(write)
    shelf.clock.advance(HOUR_S)
    await shelf.run(cleanup(shelf))
    assert shelf.has(b"small")
    await shelf.delete("a")
    await shelf.run(cleanup(shelf))
    assert not shelf.has(b"small")
    assert not shelf.has(b"source")


@ensureDeferred
async def test_two_processes_make_a_thumbnail(database: Database, tmp_path: Path) -> None:
    """Not of the same bytes, as of two versions of a decoder: the first one's is kept, and only that."""
    shelf = Shelf(database, tmp_path)
    await shelf.add("a", b"source")
    source, first, second = shelf.put(b"source"), shelf.put(b"first"), shelf.put(b"second")

    def write(txn: Transaction) -> None:
        now_ms = shelf.clock.now_ms()
        for small in (first, second):
            blobs.hold(txn, small, 5, now_ms)
            assert add_thumbnail(txn, source, BOX, Thumbnail("image/webp", small, 5), now_ms)

    await database.transact(write)
    shelf.clock.advance(HOUR_S)
    await shelf.run(cleanup(shelf))
    assert shelf.has(b"first")
    assert not shelf.has(b"second")


@ensureDeferred
async def test_an_upload_that_died(database: Database, tmp_path: Path) -> None:
    """Bytes that were held and never referred to stay for an hour, then they go; so does a bare row."""
    shelf = Shelf(database, tmp_path)
    sha256 = shelf.put(b"lost")
    await database.transact(blobs.hold, sha256, 4, shelf.clock.now_ms())
    await database.transact(blobs.hold, bytes(32), 4, shelf.clock.now_ms())
    await shelf.run(cleanup(shelf))
    assert shelf.has(b"lost")
    shelf.clock.advance(HOUR_S)
    await shelf.run(cleanup(shelf))
    assert not shelf.has(b"lost")
    assert await shelf.rows("SELECT 1 FROM media_blobs") == []


@ensureDeferred
async def test_a_deletion_that_is_cut_short(database: Database, tmp_path: Path) -> None:
    """When the store fails, or the process dies after it deleted, nothing is forgotten; the bytes may come again."""
    shelf = Shelf(database, tmp_path)
    await shelf.add("a", b"bytes")
    await shelf.delete("a")

    class Away(type(shelf.store)):  # type: ignore[misc]
        def delete(self, sha256s: object) -> None:
            super().delete(sha256s)
            raise StoreError("away")

    broken = clean_media(shelf.clock, Away(shelf.store.directory), shelf.incoming)
    with pytest.raises(StoreError):
        await shelf.run(broken)
    assert not shelf.has(b"bytes")
    assert await shelf.rows("SELECT stored FROM media_blobs") == [(False,)]
    await shelf.add("b", b"bytes")
    assert (await shelf.run(cleanup(shelf)))["blobs"] == 0
    assert shelf.has(b"bytes")
    await shelf.delete("b")
    assert (await shelf.run(cleanup(shelf)))["blobs"] == 1


@ensureDeferred
async def test_storing_that_took_too_long(database: Database, tmp_path: Path) -> None:
    """Bytes that a cleanup has deleted meanwhile are not taken for granted by who wanted to refer to them."""
    shelf = Shelf(database, tmp_path)
    sha256 = shelf.put(b"late")
    await database.transact(blobs.hold, sha256, 4, shelf.clock.now_ms())
    shelf.clock.advance(HOUR_S)
    new = NewMedia(SERVER, "late", None, "text/plain", None, shelf.clock.now_ms(), True)
    assert await database.transact(files.add, new, sha256, 4) is None
    await shelf.run(cleanup(shelf))
    assert await database.transact(files.add, new, sha256, 4) is None
    assert await shelf.ids() == []


@ensureDeferred
async def test_reservations_and_stale_files(database: Database, tmp_path: Path) -> None:
    """Reservations go when they expire, files of dead processes after an hour."""
    shelf = Shelf(database, tmp_path)
    shelf.incoming.mkdir()
    stale = shelf.incoming / "stale"
    stale.write_bytes(b"x")
    os.utime(stale, (1, 1))
    new = NewMedia(SERVER, "reserved", "@alice:hs.test", "", None, shelf.clock.now_ms(), True)
    await database.transact(files.reserve, new, shelf.clock.now_ms() + 1000, 5)
    assert (await shelf.run(cleanup(shelf)))["reservations"] == 0
    shelf.clock.advance(2)
    assert (await shelf.run(cleanup(shelf)))["reservations"] == 1
    assert (await shelf.ids(), stale.exists()) == ([], False)


@ensureDeferred
async def test_files_without_a_row(database: Database, tmp_path: Path) -> None:
    """A day after they were written the audit hands them to the cleanup; known ones and young ones stay."""
    shelf = Shelf(database, tmp_path)
    await shelf.add("a", b"known")
    orphan, young = shelf.put(b"orphan"), shelf.put(b"young")
    for path in shelf.store.directory.rglob("*"):
        if path.is_file():
            seconds = (shelf.clock.now_ms() - (0 if path.name == young.hex() else 2 * YOUNG_MS)) / 1000
            os.utime(path, (seconds, seconds))
    assert orphan != young
    audit = AuditMedia(shelf.clock, shelf.store)
    assert await shelf.run(audit, AuditParams()) == {"adopted": 1, "missing": 0}
    assert (await shelf.run(cleanup(shelf)))["blobs"] == 1
    assert [shelf.has(data) for data in (b"known", b"orphan", b"young")] == [True, False, True]
    assert await shelf.run(audit, AuditParams()) == {"adopted": 0, "missing": 0}


@ensureDeferred
async def test_rows_without_a_file(database: Database, tmp_path: Path) -> None:
    """The audit names what the store has lost, and nothing that is to go anyway."""
    shelf = Shelf(database, tmp_path)
    for media_id in ("lost", "kept", "deleted"):
        await shelf.add(media_id, media_id.encode())
    await shelf.delete("deleted")
    shelf.store.delete([sha256(one).digest() for one in (b"lost", b"deleted")])
    assert await shelf.run(AuditMedia(shelf.clock, shelf.store), AuditParams()) == {
        "adopted": 0,
        "missing": 1,
    }
    items = await shelf.rows("SELECT item, outcome, detail FROM task_items")
    assert items == [(sha256(b"lost").hexdigest(), "missing", f"mxc://{SERVER}/lost")]


@ensureDeferred
async def test_claims_of_processes_that_died(database: Database, tmp_path: Path) -> None:
    """Who fetches another server's file has a minute; a claim that is over goes, one that is good stays."""
    shelf = Shelf(database, tmp_path)
    now_ms = shelf.clock.now_ms()
    for media_id, until_ms in (("over", now_ms + 1000), ("good", now_ms + 60_000)):
        assert await database.transact(fetches.claim, "else.test", media_id, "process", now_ms, until_ms)
    assert not await database.transact(fetches.claim, "else.test", "over", "another", now_ms, now_ms + 1)
    shelf.clock.advance(2)
    result = await shelf.run(clean_media(shelf.clock, shelf.store, shelf.incoming))
    assert result["fetches"] == 1
    assert await shelf.rows("SELECT media_id FROM media_fetches") == [("good",)]
