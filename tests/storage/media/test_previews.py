"""Previews and their pictures belong together."""

from threading import Event

from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.media.previews import Preview, write_preview

PAGE = "https://page.test/"


def _write(txn: Transaction, name: str) -> None:
    """A preview of the page with a picture of that name."""
    nid = txn.value(
        "INSERT INTO media (origin, media_id, created_ts, authenticated, url_cache)"
        " VALUES ('hs', %s, 1, true, %s) RETURNING media_nid",
        (name, PAGE),
    )
    write_preview(txn, Preview(PAGE, "en", f'"{name}"', nid, 1, 2))


def _somebody_waits(txn: Transaction) -> bool:
    waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return txn.value(waits) is not None


@ensureDeferred
async def test_two_processes_preview_a_page_at_once(database: Database) -> None:
    """The later one's preview stays, and with the other one goes its picture, which nothing else would delete."""

    def write_slowly(txn: Transaction) -> None:
        _write(txn, "early")
        is_written.set()
        assert is_late_one_waiting.wait(300)

    is_written, is_late_one_waiting = Event(), Event()
    early = Deferred.fromCoroutine(database.transact(write_slowly))
    await deferToThread(is_written.wait, 60)
    late = Deferred.fromCoroutine(database.transact(_write, "late"))
    while not await database.read(_somebody_waits):
        await deferLater(reactor, 0.01)
    is_late_one_waiting.set()
    await gatherResults([early, late])
    pictures = await database.read(lambda txn: txn.rows("SELECT media_id FROM media"))
    shown = await database.read(lambda txn: txn.rows("SELECT json FROM url_previews"))
    await database.transact(lambda txn: txn.execute("DELETE FROM url_previews; DELETE FROM media"))
    assert (pictures, shown) == ([("late",)], [('"late"',)])
