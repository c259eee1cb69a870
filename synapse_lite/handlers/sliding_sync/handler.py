"""Simplified sliding sync (MSC4186): what is new in the windows of a client, or waiting until something is."""

import orjson
from attrs import evolve

from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.access_tokens import AccessTokens
from synapse_lite.handlers.filters import SyncFilter
from synapse_lite.handlers.ignored_users import IgnoredUsers
from synapse_lite.handlers.sliding_sync.extensions import TO_DEVICE, Extensions
from synapse_lite.handlers.sliding_sync.live import LiveSlidingReader
from synapse_lite.handlers.sliding_sync.reading import ReadAnswer, SlidingReader
from synapse_lite.handlers.sliding_sync.recent import Recent
from synapse_lite.handlers.sliding_sync.values import Pos, SlidingRequest
from synapse_lite.handlers.sliding_sync.writing import write_answer
from synapse_lite.handlers.sync.joined import JoinedRooms, JoinedRoomsReader
from synapse_lite.handlers.sync.values import SyncRequest
from synapse_lite.replication.changes import ChangeLog, Waiter
from synapse_lite.storage import sliding_sync as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.sliding_sync import ConnectionKey, SlidingPosition
from synapse_lite.storage.stream import Scope, kinds_of, read_position

MAX_TIMEOUT_MS = 10 * 60 * 1000


class SlidingSyncHandler:
    """Connections are in the database: any process answers the next request of one."""

    def __init__(
        self,
        database: Database,
        reader: SlidingReader,
        live: LiveSlidingReader,
        joined: JoinedRoomsReader,
        log: ChangeLog,
        extensions: Extensions,
        tokens: AccessTokens,
        ignored: IgnoredUsers,
        clock: Clock,
    ) -> None:
        self._database = database
        self._reader = reader
        self._live = live
        self._joined = joined
        self._log = log
        self._extensions = extensions
        self._tokens = tokens
        self._ignored = ignored
        self._clock = clock

    async def sync(self, request: SlidingRequest) -> bytes:
        """The body of the answer; an empty result after the request's timeout.

        Raises 400 `M_UNKNOWN_POS` for a position that is unknown, or that the client has gone on from, and 401
        when the requester's session ends while they wait.
        """
        await self._acknowledge(request)
        request = evolve(request, ignored=await self._ignored.of(request.user_id))
        base = await self._confirmed(request)
        answer, body = await self._wait(request, base)
        return with_pos(await self._pos(request, base, answer), body)

    async def _confirmed(self, request: SlidingRequest) -> SlidingPosition | None:
        """Where the client is. What it knows already is not written down again."""
        pos = request.pos
        if pos is None:
            return None
        asked = _key(request), pos.position_nid, pos.position, self._clock.now_ms()
        base = await self._database.read(store.find_position, *asked)
        base = base or await self._database.transact(store.confirm, *asked)
        if base is None:
            raise _unknown_pos()
        return evolve(base, position=await self._reached(base.position))

    async def _reached(self, position: int) -> int:
        """The position, or the end of the stream when it never came so far: say, a backup was restored."""
        if position <= self._log.position:
            return position
        return min(position, await self._database.read(read_position))

    async def _wait(self, request: SlidingRequest, base: SlidingPosition | None) -> tuple[ReadAnswer, bytes]:
        """The answer and its body, at the latest when the timeout is over."""
        deadline = self._clock.monotonic() + min(request.timeout_ms, MAX_TIMEOUT_MS) / 1000
        is_over = request.timeout_ms <= 0 or base is None
        since = base.position if base is not None and _asks_the_same(request, base) else None
        while True:
            joined = await self._joined.of(request.user_id)
            if is_over or since is None or not self._is_quiet(request, joined, since):
                answer, body = await self._answer(request, base, joined, is_over=is_over)
                if body is not None:
                    return answer, body
                since = answer.result.position
                if self._log.position > min(since, joined.position):
                    continue  # more was written while the database was read
            waiter = Waiter(joined.rooms, request.user_id, request.requester.device_id)
            is_over = not await self._log.wait(waiter, deadline - self._clock.monotonic())
            await self._tokens.check_again(request.requester)

    def _is_quiet(self, request: SlidingRequest, joined: JoinedRooms, since: int) -> bool:
        """Whether memory knows that there is nothing to tell."""
        if TO_DEVICE in request.extensions and (request.to_device_since or 0) < since:
            return False  # there may be messages that the client has not confirmed
        shared = self._extensions.kinds(request.extensions) & kinds_of(Scope.SHARED)
        changes = self._log.since(since)
        if changes is None or self._log.is_behind or joined.position > self._log.position:
            return False
        return not any(
            change.concerns(request.user_id, joined.rooms) or change.kind in shared for change in changes
        )

    async def _answer(
        self,
        request: SlidingRequest,
        base: SlidingPosition | None,
        joined: JoinedRooms,
        *,
        is_over: bool,
    ) -> tuple[ReadAnswer, bytes | None]:
        """An answer; its body when it is to be sent. Memory gives most of those to who has been waiting."""
        if base is not None and _asks_the_same(request, base):
            live = await self._live.since(request, base, joined)
            if live is not None:
                return live, self._written(request, live, self._clock.now_ms(), is_over=is_over)
        return await self._read(request, base, is_over=is_over)

    async def _read(
        self, request: SlidingRequest, base: SlidingPosition | None, *, is_over: bool
    ) -> tuple[ReadAnswer, bytes | None]:
        listed = self._reader.listings.position(request.user_id)
        known = base.position if base is not None else None
        positions = [one for one in (listed, known) if one is not None]
        recent = Recent.of(self._log, positions)
        found = await self._database.snapshot(
            self._read_and_write, request, base, recent, self._clock.now_ms(), is_over
        )
        if found is None:
            raise _unknown_pos()
        return found

    def _read_and_write(
        self,
        txn: Transaction,
        request: SlidingRequest,
        base: SlidingPosition | None,
        recent: Recent,
        now_ms: int,
        is_over: bool,
    ) -> tuple[ReadAnswer, bytes | None] | None:
        """In a database thread: an answer may be large."""
        answer = self._reader.read(txn, request, base, recent, now_ms)
        if answer is None:
            return None
        return answer, self._written(request, answer, now_ms, is_over=is_over)

    def _written(
        self, request: SlidingRequest, answer: ReadAnswer, now_ms: int, *, is_over: bool
    ) -> bytes | None:
        is_sent = is_over or answer.result.is_news
        return orjson.dumps(write_answer(request, answer.result, now_ms)) if is_sent else None

    async def _pos(self, request: SlidingRequest, base: SlidingPosition | None, answer: ReadAnswer) -> Pos:
        """The position of the answer: with a row of its own only when it changes what the client knows or asks."""
        position, pos = answer.result.position, request.pos
        if base is not None and pos is not None and not answer.changes and _asks_the_same(request, base):
            repeated = pos.repeated + 1 if position == pos.position else 0
            return Pos(base.position_nid, position, repeated)
        new = store.NewAnswer(position, request.asked, request.extensions.keys(), answer.changes)
        stored = await self._database.transact(_store, _key(request), base, new, self._clock.now_ms())
        if stored is None:
            raise _unknown_pos()
        self._reader.remember(stored, answer)
        return Pos(stored[1], position)

    async def _acknowledge(self, request: SlidingRequest) -> None:
        """Messages to the device have a token of their own, whatever becomes of the connection."""
        if request.to_device_since is None:
            return
        since = request.to_device_since
        v3 = SyncRequest(request.requester, since, 0, SyncFilter(), delivered=since)
        for section in self._extensions.of(TO_DEVICE):
            await section.acknowledge(v3)


def with_pos(pos: Pos, body: bytes) -> bytes:
    """The body of an answer with its position: it is only known when all else is written."""
    return b'{"pos":"%b",%b' % (str(pos).encode(), body[1:])


def _asks_the_same(request: SlidingRequest, base: SlidingPosition) -> bool:
    return base.asked == request.asked and set(base.extensions) == request.extensions.keys()


def _store(
    txn: Transaction,
    key: ConnectionKey,
    base: SlidingPosition | None,
    answer: store.NewAnswer,
    now_ms: int,
) -> tuple[int, int] | None:
    """The nids of the connection and the new position; None when another request has led the connection on."""
    store.commit_soon(txn)
    if base is None:
        return store.open_connection(txn, key, answer, now_ms)
    if not store.hold(txn, base):
        return None
    return base.connection_nid, store.add_answer(txn, base.connection_nid, answer)


def _key(request: SlidingRequest) -> ConnectionKey:
    return ConnectionKey(request.user_id, request.requester.device_id or "", request.conn_id)


def _unknown_pos() -> MatrixError:
    return MatrixError(400, Errcode.UNKNOWN_POS, "Unknown position")
