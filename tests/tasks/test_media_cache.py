"""The cache of other servers' media has a limit."""

from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database
from synapse_lite.storage.media import files
from synapse_lite.tasks.actions.media_cache import EvictMedia, EvictParams
from tests.builders import SERVER
from tests.tasks.media import Shelf

DAY_S = 24 * 3600
THEIRS = "else.test"


async def fill(shelf: Shelf) -> None:
    """Four copies of ten bytes, a day apart, and a large file of ours."""
    await shelf.add("ours", b"x" * 1000)
    for name in ("first", "second", "third", "fourth"):
        await shelf.add(name, name.encode().ljust(10), origin=THEIRS, user_id=None)
        shelf.clock.advance(DAY_S)


@pytest.mark.parametrize("batch", [1, 2, 100])
@ensureDeferred
async def test_the_longest_unused_go(database: Database, tmp_path: Path, batch: int) -> None:
    """As many as are too many, in steps of any size; use keeps them, and what is ours does not count."""
    shelf = Shelf(database, tmp_path)
    await fill(shelf)
    ((first,),) = await shelf.rows("SELECT media_nid FROM media WHERE media_id = 'first'")
    await database.transact(files.note_access, [first], shelf.clock.now_ms())
    evict = EvictMedia(shelf.clock, SERVER, 25)
    assert await shelf.run(evict, EvictParams(), batch=batch) == {"evicted": 2, "bytes": 20}
    assert await shelf.ids() == ["first", "fourth", "ours"]
    assert await shelf.run(evict, EvictParams(), batch=batch) == {"evicted": 0, "bytes": 0}


@ensureDeferred
async def test_of_one_day_no_more_than_needed(database: Database, tmp_path: Path) -> None:
    """What was used on the same day goes in the order in which it came."""
    shelf = Shelf(database, tmp_path)
    for name in ("a", "b", "c"):
        await shelf.add(name, name.encode().ljust(10), origin=THEIRS, user_id=None)
    evict = EvictMedia(shelf.clock, SERVER, 15)
    assert await shelf.run(evict, EvictParams()) == {"evicted": 2, "bytes": 20}
    assert await shelf.ids() == ["c"]


@ensureDeferred
async def test_what_stays(database: Database, tmp_path: Path) -> None:
    """What is protected or hidden stays, and everything where there is no limit."""
    shelf = Shelf(database, tmp_path)
    await fill(shelf)
    await database.transact(files.protect, THEIRS, "first", True)
    await shelf.execute("INSERT INTO media_quarantine VALUES (%s, 'second', '@a:b', 1)", THEIRS)
    assert (await shelf.run(EvictMedia(shelf.clock, SERVER, None), EvictParams()))["evicted"] == 0
    await shelf.run(EvictMedia(shelf.clock, SERVER, 0), EvictParams())
    assert await shelf.ids() == ["first", "ours", "second"]
