"""Previews and their pictures belong together."""

from functools import partial
from threading import Event

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThread

from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.media.previews import Preview, delete_expired, write_preview
from synapse_lite.storage.statements import Arguments, Row

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


async def _pictures_and_previews(database: Database) -> tuple[list[str], list[str]]:
    """All that there are; then they are deleted."""
    pictures = await database.read(lambda txn: txn.rows("SELECT media_id FROM media"))
    shown = await database.read(lambda txn: txn.rows("SELECT json FROM url_previews"))
    await database.transact(lambda txn: txn.execute("DELETE FROM url_previews; DELETE FROM media"))
    return [name for (name,) in pictures], [json for (json,) in shown]


@ensureDeferred
async def test_two_processes_preview_a_page_at_once(database: Database) -> None:
    """The later one's preview stays, and with the other one goes its picture, which nothing else would delete."""

    def write_slowly(txn: Transaction) -> None:
        _write(txn, "early")
        is_written.set()
        assert is_late_one_waiting.wait(300)

    is_written, is_late_one_waiting = Event(), Event()
    early = Deferred.fromCoroutine(database.transact(write_slowly))
    await deferToThread(is_written.wait, 300)
    late = Deferred.fromCoroutine(database.transact(_write, "late"))
    while not await database.read(_somebody_waits):
        await deferLater(reactor, 0.01)
    is_late_one_waiting.set()
    await gatherResults([early, late])
    assert await _pictures_and_previews(database) == (["late"], ['"late"'])


@ensureDeferred
async def test_an_expired_preview_goes_while_a_new_one_comes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has found the old one in the way writes theirs all the same, and has a picture that goes with it."""
    row, cleanups = Transaction.row, [1]

    def row_later(txn: Transaction, sql: str, arguments: Arguments = ()) -> Row | None:
        if cleanups and "url_previews" in sql:
            now_ms = cleanups.pop() + 1
            cleanup = partial(database.transact, delete_expired, now_ms, 10)
            assert blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(cleanup())) == 1
        return row(txn, sql, arguments)

    await database.transact(_write, "old")
    monkeypatch.setattr(Transaction, "row", row_later)
    await database.transact(_write, "new")
    assert await _pictures_and_previews(database) == (["new"], ['"new"'])
