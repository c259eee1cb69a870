"""The quarantine: by name and by bytes, longer than the media, every change written down once."""

from pathlib import Path

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database
from synapse_lite.storage.media import files, quarantine
from synapse_lite.storage.media.quarantine import QuarantineChange, Reason
from synapse_lite.storage.media.told import Mxc
from tests.builders import SERVER
from tests.tasks.media import Shelf

REASON = Reason("@admin:hs.test", "test", 1)


def ours(*media_ids: str) -> list[Mxc]:
    return [(SERVER, media_id) for media_id in media_ids]


async def hidden(shelf: Shelf) -> list[str]:
    """Media ids that a reader does not get."""
    rows = await shelf.rows("SELECT origin, media_id FROM media ORDER BY media_id")
    read = [await shelf.database.read(files.read_media, *row) for row in rows]
    return [media.media_id for media in read if media is not None and media.quarantined_by is not None]


@ensureDeferred
async def test_equal_bytes_are_hidden_too(database: Database, tmp_path: Path) -> None:
    """Whoever uploaded them, before or after, here or elsewhere; others stay; it can be undone."""
    shelf = Shelf(database, tmp_path)
    await shelf.add("a", b"bad")
    await shelf.add("b", b"bad", user_id="@bob:hs.test")
    await shelf.add("c", b"bad", origin="else.test", user_id=None)
    await shelf.add("d", b"good")
    changed = await database.transact(quarantine.quarantine, ours("a"), REASON)
    assert changed == [("else.test", "c"), (SERVER, "a"), (SERVER, "b")]
    await shelf.add("e", b"bad")
    assert await hidden(shelf) == ["a", "b", "c", "e"]
    assert await database.transact(quarantine.quarantine, ours("a", "e"), REASON) == []
    shown = await database.transact(quarantine.unquarantine, ours("b"), REASON)
    assert sorted(shown) == [("else.test", "c"), *ours("a", "b", "e")]
    assert await hidden(shelf) == []
    await shelf.add("f", b"bad")
    assert await hidden(shelf) == []


@ensureDeferred
async def test_it_outlives_the_media(database: Database, tmp_path: Path) -> None:
    """Deleted, fetched again, uploaded again: hidden all the same; so is what comes only later."""
    shelf = Shelf(database, tmp_path)
    await shelf.add("a", b"bad", origin="else.test", user_id=None)
    await database.transact(quarantine.quarantine, [("else.test", "a"), ("else.test", "later")], REASON)
    await shelf.delete("a")
    assert await database.read(files.is_quarantined, "else.test", "a")
    await shelf.add("a", b"bad", origin="else.test", user_id=None)
    await shelf.add("later", b"fine", origin="else.test", user_id=None)
    await shelf.add("copy", b"bad")
    assert await hidden(shelf) == ["a", "copy", "later"]


@ensureDeferred
async def test_protected_media(database: Database, tmp_path: Path) -> None:
    """What is protected is not hidden, by its name or by its bytes."""
    shelf = Shelf(database, tmp_path)
    await shelf.add("sticker", b"same")
    await shelf.add("spam", b"same")
    await database.transact(files.protect, SERVER, "sticker", True)
    assert await database.transact(quarantine.quarantine, ours("sticker"), REASON) == []
    assert await database.transact(quarantine.quarantine, ours("spam"), REASON) == ours("spam")
    assert await hidden(shelf) == ["spam"]


@ensureDeferred
async def test_changes(database: Database, tmp_path: Path) -> None:
    """Each change once, in order, with who made it; those that the server makes itself too."""
    shelf = Shelf(database, tmp_path)
    await shelf.add("a", b"bad")
    await database.transact(quarantine.quarantine, ours("a"), REASON)
    await shelf.add("b", b"bad")
    await database.transact(quarantine.unquarantine, ours("a"), REASON)
    changes = await database.read(quarantine.read_changes, 0, 100)
    assert changes == [
        QuarantineChange(1, SERVER, "a", True),
        QuarantineChange(2, SERVER, "b", True),
        QuarantineChange(3, SERVER, "a", False),
        QuarantineChange(4, SERVER, "b", False),
    ]
    assert await database.read(quarantine.read_changes, 1, 2) == changes[1:3]
    assert await database.read(quarantine.read_position) == 4
    actors = await shelf.rows("SELECT actor, cause FROM media_quarantine_changes ORDER BY position")
    assert actors[1] == ("system", "same bytes")
    assert actors[0] == ("@admin:hs.test", "test")


@ensureDeferred
async def test_a_dry_run(database: Database, tmp_path: Path) -> None:
    """It names what would be hidden, others' media with the same bytes included, and hides nothing."""
    shelf = Shelf(database, tmp_path)
    await shelf.add("a", b"bad")
    await shelf.add("b", b"bad", user_id="@bob:hs.test")
    assert await database.transact(quarantine.would_quarantine, ours("a"), REASON) == ours("a", "b")
    assert await hidden(shelf) == []
