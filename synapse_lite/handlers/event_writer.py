"""Writing events: whatever waits goes into one transaction.

Idle, a batch is one event and the latency is one commit; busy, batches grow and an event costs less.

A batch takes the locks of its rooms without waiting for any. What is for a room that somebody else holds (a step
of a task, another process) is put back and waits for that lock in a transaction of the room's own, while the
writes to other rooms go on. So it is with a batch of which another process has just served a request.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore, ensureDeferred

from synapse_lite.errors import UnavailableError
from synapse_lite.matrix.content_checks import check_draft
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.values import Busy, Result, Sent, Write
from synapse_lite.storage.database import Database, Transaction, UniqueViolation

logger = logging.getLogger(__name__)

MAX_BATCH = 200
MAX_BUSY_ROOMS = 3
"""For so many busy rooms a process waits at a time."""
CONNECTIONS = 1 + MAX_BUSY_ROOMS

Append = Callable[[Transaction, Sequence[Write]], Sequence[Result | Busy]]


class Sender(Protocol):
    """What other handlers need of `EventWriter`."""

    async def send(self, write: Write) -> Sent: ...


@frozen
class _Waiting:
    write: Write
    done: "Deferred[Sent]" = field(factory=Deferred)

    def deliver(self, outcome: Sent | Exception) -> None:
        if self.done.called:  # the client went away, which cancelled it
            return
        if isinstance(outcome, Exception):
            self.done.errback(outcome)
        else:
            self.done.callback(outcome)


class EventWriter:
    """The one queue of a process. `database` is for events alone, with `CONNECTIONS` connections."""

    def __init__(self, database: Database, appender: EventAppender) -> None:
        self._database = database
        self._appender = appender
        self._waiting: deque[_Waiting] = deque()
        self._running = False
        self._busy: dict[int, deque[_Waiting]] = {}
        self._places = DeferredSemaphore(MAX_BUSY_ROOMS)

    async def send(self, write: Write) -> Sent:
        """The event as stored, once it is committed. Raises what `check_draft` and the room's rules say
        against it.
        """
        check_draft(write.draft)
        waiting = _Waiting(write)
        self._busy.get(write.room_nid, self._waiting).append(waiting)
        self._start()
        return await waiting.done

    def _start(self) -> None:
        if self._waiting and not self._running:
            self._running = True
            ensureDeferred(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._write(_take(self._waiting), self._appender.append_where_free)
        finally:
            self._running = False

    async def _write(self, batch: list[_Waiting], append: Append) -> None:
        try:
            results = await self._database.transact(append, [waiting.write for waiting in batch])
        except Exception as error:
            if isinstance(error, UniqueViolation) and append == self._appender.append_where_free:
                self._put_back(batch)  # one was served elsewhere meanwhile: its room tells, once it is locked
                return
            if len(batch) == 1 or isinstance(error, UnavailableError):
                for waiting in batch:
                    waiting.deliver(error)
                return
            logger.exception("a batch of %d events failed; each is sent alone", len(batch))
            for waiting in batch:
                await self._write([waiting], append)
            return
        busy = []
        for waiting, result in zip(batch, results, strict=True):
            if isinstance(result, Busy):
                busy.append(waiting)
            else:
                waiting.deliver(result)
        if busy:
            self._put_back(busy)

    def _put_back(self, writes: list[_Waiting]) -> None:
        rooms = {waiting.write.room_nid: deque[_Waiting]() for waiting in writes}
        self._busy.update(rooms)
        later, self._waiting = self._waiting, deque()
        for waiting in (*writes, *later):
            self._busy.get(waiting.write.room_nid, self._waiting).append(waiting)
        for room_nid in rooms:
            ensureDeferred(self._write_to_busy(room_nid))

    async def _write_to_busy(self, room_nid: int) -> None:
        """Wait for the lock of the room, write what is for it, and let it be one of many again."""
        await self._places.acquire()
        try:
            await self._write(_take(self._busy[room_nid]), self._appender.append)
        finally:
            self._places.release()
            self._waiting.extend(self._busy.pop(room_nid))
            self._start()


def _take(queue: deque[_Waiting]) -> list[_Waiting]:
    return [queue.popleft() for _ in range(min(MAX_BATCH, len(queue)))]
