"""GET /sync: what is new for a client, or waiting until something is."""

import orjson
from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock
from synapse_lite.handlers.sync.joined import JoinedRoomsReader, is_own_membership
from synapse_lite.handlers.sync.live import live_result
from synapse_lite.handlers.sync.reading import SyncReader
from synapse_lite.handlers.sync.values import SyncRequest, SyncResult
from synapse_lite.handlers.sync.writing import write_sync
from synapse_lite.replication.changes import ChangeLog, Waiter
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.stream import Change

MAX_TIMEOUT_MS = 10 * 60 * 1000


class SyncHandler:
    """Answers as encoded JSON: large ones are put together in a database thread."""

    def __init__(
        self,
        database: Database,
        events: EventStore,
        reader: SyncReader,
        joined: JoinedRoomsReader,
        log: ChangeLog,
        clock: Clock,
    ) -> None:
        self._database = database
        self._events = events
        self._reader = reader
        self._joined = joined
        self._log = log
        self._clock = clock

    async def sync(self, request: SyncRequest) -> bytes:
        """The body of the answer; an empty result after the request's timeout."""
        if request.since is None:
            return await self._database.snapshot(self._read_initial, request)
        deadline = self._clock.now_ms() + min(request.timeout_ms, MAX_TIMEOUT_MS)
        user_id, since = request.requester.user_id, request.since
        while True:
            joined = await self._joined.of(user_id)
            changes = self._log.since(since)
            mine = changes and [change for change in changes if change.concerns(user_id, joined.rooms)]
            if mine or mine is None or request.full_state:
                since, body = await self._result(
                    request, since, mine, ahead=joined.position > self._log.position
                )
                if body is not None:
                    return body
            else:
                since = max(since, self._log.position)
            if self._log.position > since:
                continue
            waiter = self._log.wait(joined.rooms, user_id)
            if not await self._wait(waiter, deadline - self._clock.now_ms()):
                return self._write(request, SyncResult(since))

    async def _result(
        self, request: SyncRequest, since: int, mine: list[Change] | None, *, ahead: bool
    ) -> tuple[int, bytes | None]:
        """How far the result goes, and its body unless it is empty. `ahead`: of the log, so that it cannot answer."""
        user_id = request.requester.user_id
        simple = mine and not (
            ahead or request.full_state or any(is_own_membership(c, user_id) for c in mine)
        )
        result = live_result(request, mine, self._log.position, self._events) if mine and simple else None
        if result is None:
            return await self._database.snapshot(self._read, request, since)
        return result.position, None if result.is_empty else self._write(request, result)

    def _read_initial(self, txn: Transaction, request: SyncRequest) -> bytes:
        return self._write(request, self._reader.initial(txn, request, self._clock.now_ms()))

    def _read(self, txn: Transaction, request: SyncRequest, since: int) -> tuple[int, bytes | None]:
        result = self._reader.since(txn, request, since, self._clock.now_ms())
        return result.position, None if result.is_empty else self._write(request, result)

    def _write(self, request: SyncRequest, result: SyncResult) -> bytes:
        return orjson.dumps(write_sync(request, result, self._clock.now_ms()))

    async def _wait(self, waiter: Waiter, milliseconds: int) -> bool:
        """Whether the waiter was woken in time."""
        if milliseconds <= 0:
            self._log.leave(waiter)
            return False
        woken: Deferred[None] = waiter.woken
        timeout = self._clock.call_later(milliseconds / 1000, _give_up, waiter)
        try:
            await woken
        finally:
            self._log.leave(waiter)
            if timeout.active():
                timeout.cancel()
        return not waiter.timed_out


def _give_up(waiter: Waiter) -> None:
    if not waiter.woken.called:
        waiter.timed_out = True
        waiter.woken.callback(None)
