"""Sessions of user-interactive authentication."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage import uia
from synapse_lite.storage.database import Database
from synapse_lite.storage.uia import UiaSession


@ensureDeferred
async def test_a_session_collects_stages_until_it_is_used(database: Database) -> None:
    """A stage counts once; a session can be used up once."""
    await database.transact(uia.create_uia_session, "s", "register", 100, lifetime_ms=50)
    for stage in ("one", "two", "one"):
        await database.transact(uia.add_completed_stage, "s", stage)
    found = await database.read(uia.find_uia_session, "s", 149, lifetime_ms=50)
    assert found == UiaSession("s", "register", frozenset({"one", "two"}))
    assert await database.transact(uia.delete_uia_session, "s")
    assert not await database.transact(uia.delete_uia_session, "s")


@ensureDeferred
async def test_old_sessions_are_unknown_and_make_room(database: Database) -> None:
    """A session whose time is over is not found, and goes when the next one comes."""
    await database.transact(uia.create_uia_session, "old", "register", 100, lifetime_ms=50)
    assert await database.read(uia.find_uia_session, "old", 150, lifetime_ms=50) is None
    await database.transact(uia.create_uia_session, "new", "register", 150, lifetime_ms=50)
    ids = await database.read(lambda txn: txn.rows("SELECT session_id FROM uia_sessions"))
    assert ids == [("new",)]
