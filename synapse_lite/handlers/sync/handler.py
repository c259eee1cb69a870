"""GET /sync: what is new for a client, or waiting until something is."""

from collections.abc import Collection

import orjson
from attrs import evolve, frozen

from synapse_lite.clock import Clock
from synapse_lite.handlers.access_tokens import AccessTokens
from synapse_lite.handlers.broken_rooms import BrokenRooms
from synapse_lite.handlers.ignored_users import IgnoredUsers
from synapse_lite.handlers.sync.initial import InitialRooms, InitialSyncs
from synapse_lite.handlers.sync.joined import JoinedRooms, JoinedRoomsReader
from synapse_lite.handlers.sync.live import LiveReader
from synapse_lite.handlers.sync.memory import from_memory, reached
from synapse_lite.handlers.sync.reading import SyncReader
from synapse_lite.handlers.sync.sections import Sections
from synapse_lite.handlers.sync.told_members import NOBODY, Members, ToldMembers, leave_out_told
from synapse_lite.handlers.sync.values import SyncRequest, SyncResult
from synapse_lite.handlers.sync.writing import write_sync
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.replication.waiters import Waiter
from synapse_lite.storage.database import Database, Transaction

MAX_TIMEOUT_MS = 10 * 60 * 1000


@frozen
class Answer:
    """How far a result goes, its JSON unless it is empty, and which members the client knows then."""

    position: int
    body: bytes | None
    told: Members


class SyncHandler:
    """Answers as encoded JSON: large ones are put together in a database thread."""

    def __init__(
        self,
        database: Database,
        reader: SyncReader,
        live: LiveReader,
        joined: JoinedRoomsReader,
        log: ChangeLog,
        sections: Sections,
        tokens: AccessTokens,
        ignored: IgnoredUsers,
        broken: BrokenRooms,
        clock: Clock,
    ) -> None:
        self._database = database
        self._broken = broken
        self._reader = reader
        self._live = live
        self._joined = joined
        self._log = log
        self._sections = sections
        self._initial = InitialSyncs(log, sections, live.retention, clock)
        self._told = ToldMembers()
        self._tokens = tokens
        self._ignored = ignored
        self._clock = clock

    async def sync(self, request: SyncRequest) -> bytes:
        """The body of the answer; an empty result after the request's timeout.

        Raises 401 when the requester's session ends while they wait, 403 for one user too many.
        """
        request.requester.check_served()
        if request.since is None:
            return await self._initial_sync(await self._ignoring(request))
        since = await reached(self._log, self._database, request.since)
        if since < request.since:
            # Of the messages that there are now the device may have none.
            request = evolve(request, delivered=0)
        for section in self._sections.user:
            await section.acknowledge(request)
        if request.full_state:
            request = await self._ignoring(request)
            return self._sent(request, await self._database.snapshot(self._read_full, request, since))
        return await self._poll(request, since)

    async def _ignoring(self, request: SyncRequest) -> SyncRequest:
        return request.ignoring(await self._ignored.of(request.user_id))

    async def _poll(self, asked: SyncRequest, since: int) -> bytes:
        """Whom the user ignores may change while they wait."""
        deadline = self._clock.monotonic() + min(asked.timeout_ms, MAX_TIMEOUT_MS) / 1000
        is_over = asked.timeout_ms <= 0
        while True:
            request = await self._ignoring(asked)
            told = self._told.of(request)
            joined = await self._joined.of(request.user_id)
            result = await self._from_memory(request, since, joined, only_news=not is_over)
            if result is not None:
                answer = self._answer(request, result, told, is_over=is_over)
            else:
                answer = await self._database.snapshot(self._read, request, since, told, is_over)
            since = answer.position
            if answer.body is not None:
                return self._sent(request, answer)
            if self._log.position > min(since, joined.position):
                continue  # more was written while the database was read
            seconds = deadline - self._clock.monotonic()
            is_over = not await self._log.wait(
                Waiter(joined.rooms, request.user_id, request.device_id, request.takes_presence), seconds
            )
            await self._tokens.check_again(request.requester)

    async def _from_memory(
        self, request: SyncRequest, since: int, joined: JoinedRooms, *, only_news: bool
    ) -> SyncResult | None:
        """None: the database is to be read."""
        if self._reader.gaps.rooms(request, since):
            return None
        return await from_memory(self._live.since(request, since, joined, only_news=only_news))

    async def _initial_sync(self, request: SyncRequest) -> bytes:
        known = self._initial.find(request)
        result, joined, answer = await self._database.snapshot(self._read_initial, request, known)
        if known is None and not self._broken:
            self._initial.keep(request, result, joined)
        return self._sent(request, answer)

    def _sent(self, request: SyncRequest, answer: Answer) -> bytes:
        self._told.keep(request, answer.position, answer.told)
        return answer.body or b""

    # In a database thread, as a rule

    def _read_initial(
        self, txn: Transaction, request: SyncRequest, known: InitialRooms | None
    ) -> tuple[SyncResult, Collection[int], Answer]:
        result, joined = self._reader.initial(txn, request, self._clock.now_ms(), known)
        return result, joined, self._answer(request, result, NOBODY, is_over=True)

    def _read_full(self, txn: Transaction, request: SyncRequest, since: int) -> Answer:
        result = self._reader.since(txn, request, since, self._clock.now_ms())
        return self._answer(request, result, NOBODY, is_over=True)

    def _read(
        self, txn: Transaction, request: SyncRequest, since: int, told: Members, is_over: bool
    ) -> Answer:
        result = self._reader.since(txn, request, since, self._clock.now_ms())
        return self._answer(request, result, told, is_over=is_over)

    def _answer(self, request: SyncRequest, result: SyncResult, told: Members, *, is_over: bool) -> Answer:
        if result.is_empty and not is_over:
            return Answer(result.position, None, told)
        shown, told = leave_out_told(request, result, told)
        return Answer(result.position, orjson.dumps(write_sync(request, shown, self._clock.now_ms())), told)
