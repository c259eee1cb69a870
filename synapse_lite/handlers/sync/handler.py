"""GET /sync: what is new for a client, or waiting until something is."""

import orjson

from synapse_lite.clock import Clock
from synapse_lite.handlers.retention import Retention
from synapse_lite.handlers.sync.joined import JoinedRooms, JoinedRoomsReader, is_own_membership
from synapse_lite.handlers.sync.live import live_result
from synapse_lite.handlers.sync.reading import SyncReader
from synapse_lite.handlers.sync.values import SyncRequest, SyncResult
from synapse_lite.handlers.sync.writing import write_sync
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.stream import read_position

MAX_TIMEOUT_MS = 10 * 60 * 1000

Answer = tuple[int, bytes | None]  # how far a result goes, and its JSON unless it is empty


class SyncHandler:
    """Answers as encoded JSON: large ones are put together in a database thread."""

    def __init__(
        self,
        database: Database,
        events: EventStore,
        reader: SyncReader,
        joined: JoinedRoomsReader,
        log: ChangeLog,
        retention: Retention,
        clock: Clock,
    ) -> None:
        self._database = database
        self._events = events
        self._reader = reader
        self._joined = joined
        self._log = log
        self._retention = retention
        self._clock = clock

    async def sync(self, request: SyncRequest) -> bytes:
        """The body of the answer; an empty result after the request's timeout."""
        if request.since is None or request.full_state:
            return await self._database.snapshot(self._read_at_once, request)
        deadline = self._clock.now_ms() + min(request.timeout_ms, MAX_TIMEOUT_MS)
        since = await self._reached(request.since)
        while True:
            joined = await self._joined.of(request.user_id)
            answer = self._answer_from_memory(request, since, joined)
            if answer is None:
                answer = await self._database.snapshot(self._read, request, since)
            since, body = answer
            if body is not None:
                return body
            if self._log.position > min(since, joined.position):
                continue  # while the database was read, the world went on
            seconds = (deadline - self._clock.now_ms()) / 1000
            if not await self._log.wait(joined.rooms, request.user_id, seconds):
                return self._write(request, SyncResult(since))

    async def _reached(self, since: int) -> int:
        """The position, or the end of the stream when it never came so far: say, a backup was restored."""
        if since <= self._log.position:
            return since
        return min(since, await self._database.read(read_position))

    def _answer_from_memory(self, request: SyncRequest, since: int, joined: JoinedRooms) -> Answer | None:
        """None when the memory of the stream cannot tell."""
        changes = self._log.since(since)
        if changes is None or self._log.is_behind or joined.position > self._log.position:
            return None
        user_id = request.user_id
        mine = [change for change in changes if change.concerns(user_id, joined.rooms)]
        if any(is_own_membership(change, user_id) for change in mine):
            return None
        upto = max(since, self._log.position)
        result = live_result(request, mine, upto, self._events, self._retention)
        return None if result is None else self._answer(request, result)

    def _read_at_once(self, txn: Transaction, request: SyncRequest) -> bytes:
        now_ms = self._clock.now_ms()
        if request.since is None:
            return self._write(request, self._reader.initial(txn, request, now_ms))
        return self._write(request, self._reader.since(txn, request, request.since, now_ms))

    def _read(self, txn: Transaction, request: SyncRequest, since: int) -> Answer:
        return self._answer(request, self._reader.since(txn, request, since, self._clock.now_ms()))

    def _answer(self, request: SyncRequest, result: SyncResult) -> Answer:
        return result.position, None if result.is_empty else self._write(request, result)

    def _write(self, request: SyncRequest, result: SyncResult) -> bytes:
        return orjson.dumps(write_sync(request, result, self._clock.now_ms()))
