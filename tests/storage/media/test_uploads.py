"""What each user has uploaded, as it is kept: as if all media were added up."""

from pathlib import Path

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database
from synapse_lite.storage.media import blobs, files
from synapse_lite.storage.media.files import NewMedia
from tests.builders import SERVER
from tests.tasks.media import Shelf

ALICE, BOB = "@alice:hs.test", "@bob:hs.test"
ADDED_UP = (
    "SELECT user_id, count(*), sum(size)::bigint FROM media WHERE user_id IS NOT NULL AND size IS NOT NULL"
    " GROUP BY user_id ORDER BY user_id"
)


@ensureDeferred
async def test_sums_are_kept(database: Database, tmp_path: Path) -> None:
    """With each file that comes, is filled in, gets other bytes, or goes; those of other servers are nobody's."""
    shelf = Shelf(database, tmp_path)

    async def kept() -> list[tuple[str, int, int]]:
        rows = await shelf.rows("SELECT user_id, media_count, media_length FROM uploads ORDER BY user_id")
        assert rows == await shelf.rows(ADDED_UP)
        return rows

    for name, data, user_id in (("a", b"1", ALICE), ("b", b"22", ALICE), ("c", b"333", BOB)):
        await shelf.add(name, data, user_id=user_id)
    await shelf.add("d", b"4444", origin="else.test", user_id=None)
    assert await kept() == [(ALICE, 2, 3), (BOB, 1, 3)]

    now_ms = shelf.clock.now_ms()
    new = NewMedia(SERVER, "later", BOB, "text/plain", None, now_ms, True)
    await database.transact(files.reserve, new, now_ms + 1000, 5)
    assert await kept() == [(ALICE, 2, 3), (BOB, 1, 3)]
    sha256 = shelf.put(b"55555")
    await database.transact(blobs.hold, sha256, 5, now_ms)
    assert await database.transact(files.fill, new, sha256, 5)
    assert await kept() == [(ALICE, 2, 3), (BOB, 2, 8)]

    await shelf.add("a", b"666666", user_id=ALICE)
    assert await kept() == [(ALICE, 2, 8), (BOB, 2, 8)]
    await shelf.delete("a", "c")
    assert await kept() == [(ALICE, 1, 2), (BOB, 1, 5)]
    await shelf.delete("b", "d", "later")
    assert await kept() == []
