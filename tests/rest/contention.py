"""Requests that meet: all of them have begun before one of them gets on."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from threading import Event

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.storage.database import Transaction
from tests.server import TestServer

SECONDS = 300.0
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@asynccontextmanager
async def locked_until_met(
    server: TestServer, count: int, sql: str, arguments: Sequence[object]
) -> AsyncIterator[None]:
    """The rows of the statement are locked, until so many transactions wait for one another or for them."""
    is_locked, is_over = Event(), Event()
    holding = Deferred.fromCoroutine(
        server.database.transact(_hold, count, sql, arguments, is_locked, is_over)
    )
    try:
        assert await deferToThread(is_locked.wait, SECONDS)
        yield
    except BaseException:
        is_over.set()  # else the end of a test that failed waits for those who do not come any more
        raise
    finally:
        await holding


def _hold(
    txn: Transaction, count: int, sql: str, arguments: Sequence[object], is_locked: Event, is_over: Event
) -> None:
    txn.rows(f"{sql} FOR UPDATE", arguments)
    is_locked.set()
    deadline = time.monotonic() + SECONDS
    while int(txn.value(WAITING)) < count and not is_over.is_set():
        assert time.monotonic() < deadline, "nobody meets"
        time.sleep(0.01)
