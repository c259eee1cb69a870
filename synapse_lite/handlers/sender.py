"""Sending events: whatever waits goes into one transaction.

Idle, a batch is one event and the latency is one commit; busy, batches grow and an event costs less.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, ensureDeferred

from synapse_lite.errors import MatrixError
from synapse_lite.storage.append import Result
from synapse_lite.storage.branches import Write
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import StoredEvent

logger = logging.getLogger(__name__)

MAX_BATCH = 200


class Appender(Protocol):
    def append(self, txn: Transaction, writes: Sequence[Write]) -> list[Result]: ...


class Sender(Protocol):
    """What other handlers need of `EventSender`."""

    async def send(self, write: Write) -> StoredEvent: ...


class EventSender:
    """The one queue of a process. `database` is a lane of its own, so that sends wait for no reader."""

    def __init__(self, database: Database, appender: Appender) -> None:
        self._database = database
        self._appender = appender
        self._waiting: list[tuple[Write, Deferred[StoredEvent]]] = []
        self._running = False

    async def send(self, write: Write) -> StoredEvent:
        """The event as stored, once it is committed. Raises what the room's rules say against it."""
        done: Deferred[StoredEvent] = Deferred()
        self._waiting.append((write, done))
        if not self._running:
            self._running = True
            ensureDeferred(self._run())
        return await done

    async def send_all(self, writes: Sequence[Write]) -> list[StoredEvent]:
        """All or none of them, in one transaction of their own, in order."""
        return await self._database.transact(append_all, self._appender, writes)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._write(batch)
        finally:
            self._running = False

    async def _write(self, batch: "list[tuple[Write, Deferred[StoredEvent]]]") -> None:
        try:
            results = await self._database.transact(self._appender.append, [write for write, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                _deliver(batch[0][1], error)
                return
            logger.exception("a batch of %d events failed; each is sent alone", len(batch))
            for one in batch:
                await self._write([one])
            return
        for (_, done), result in zip(batch, results, strict=True):
            _deliver(done, result)


def append_all(txn: Transaction, appender: Appender, writes: Sequence[Write]) -> list[StoredEvent]:
    """The events of all writes; the first refusal undoes the transaction."""
    stored = []
    for result in appender.append(txn, writes):
        if isinstance(result, MatrixError):
            raise result
        stored.append(result)
    return stored


def _deliver(done: "Deferred[StoredEvent]", outcome: StoredEvent | Exception) -> None:
    if done.called:  # the client went away, which cancelled it
        return
    if isinstance(outcome, Exception):
        done.errback(outcome)
    else:
        done.callback(outcome)
