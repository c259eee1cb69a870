"""Simplified sliding sync (MSC4186): what is new in the windows of a client, or waiting until something is."""

from collections.abc import Callable
from functools import partial

import orjson
from attrs import evolve, frozen

from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.access_tokens import AccessTokens
from synapse_lite.handlers.filters import SyncFilter
from synapse_lite.handlers.ignored_users import IgnoredUsers
from synapse_lite.handlers.sliding_sync.confirmed import ConfirmedPositions
from synapse_lite.handlers.sliding_sync.extensions import TO_DEVICE, Extensions
from synapse_lite.handlers.sliding_sync.live import LiveSlidingReader
from synapse_lite.handlers.sliding_sync.reading import ReadAnswer, SlidingReader
from synapse_lite.handlers.sliding_sync.recent import Recent
from synapse_lite.handlers.sliding_sync.values import Pos, SlidingRequest
from synapse_lite.handlers.sliding_sync.writing import write_answer
from synapse_lite.handlers.sync.joined import JoinedRooms, JoinedRoomsReader
from synapse_lite.handlers.sync.memory import from_memory, reached
from synapse_lite.handlers.sync.values import SyncRequest
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.replication.waiters import Waiter
from synapse_lite.storage import sliding_sync as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.sent_rooms import Changed
from synapse_lite.storage.sliding_sync import ConnectionKey, SlidingPosition
from synapse_lite.storage.snapshots import snapshot_then
from synapse_lite.storage.stream import Scope, kinds_of

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
        self._confirmed = ConfirmedPositions()

    async def sync(self, request: SlidingRequest) -> bytes:
        """The body of the answer; an empty result after the request's timeout.

        Raises 400 `M_UNKNOWN_POS` for a position that is unknown, or that the client has gone on from, and 401
        when the requester's session ends while they wait, 403 for one user too many.
        """
        request.requester.check_served()
        request = await self._acknowledged(request)
        base = await self._base(request)
        pos, body = await self._wait(request, base)
        return with_pos(pos, body)

    async def _base(self, request: SlidingRequest) -> SlidingPosition | None:
        """Where the client is. What it knows already is not written down again."""
        pos = request.pos
        if pos is None:
            return None
        key, now_ms = _key(request), self._clock.now_ms()
        base = self._confirmed.find(key, pos, now_ms)
        if base is None:
            asked = key, pos.position_nid, pos.position, now_ms
            base = await self._database.read(store.find_position, *asked)
            base = base or await self._database.transact(store.confirm, *asked)
            if base is None:
                raise _unknown_pos()
            self._reader.remember(base)
            self._confirmed.keep(key, base, now_ms)
        return evolve(base, position=await reached(self._log, self._database, pos.position))

    async def _wait(self, request: SlidingRequest, base: SlidingPosition | None) -> tuple[Pos, bytes]:
        """The answer and its body, at the latest when the timeout is over. Whom the user ignores may change meanwhile."""
        deadline = self._clock.monotonic() + min(request.timeout_ms, MAX_TIMEOUT_MS) / 1000
        is_over = request.timeout_ms <= 0 or base is None
        since = base.position if base is not None and _asks_the_same(request, base) else None
        while True:
            request = evolve(request, ignored=await self._ignored.of(request.user_id))
            joined = await self._joined.of(request.user_id)
            if is_over or since is None or not self._is_quiet(request, joined, since):
                answer = await self._answer(request, base, joined, is_over=is_over)
                if answer.body is not None and answer.pos is not None:
                    return answer.pos, answer.body
                since = answer.position
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
    ) -> "_Answer":
        """Memory gives most of those to who has been waiting."""
        if base is not None and _asks_the_same(request, base):
            live = await self._from_memory(request, base, joined)
            if live is not None:
                return self._written(request, base, live, self._clock.now_ms(), is_over=is_over)
        return await self._read(request, base, is_over=is_over)

    async def _from_memory(
        self, request: SlidingRequest, base: SlidingPosition, joined: JoinedRooms
    ) -> ReadAnswer | None:
        """None: the database is to be read."""
        return await from_memory(self._live.since(request, base, joined))

    async def _read(
        self, request: SlidingRequest, base: SlidingPosition | None, *, is_over: bool
    ) -> "_Answer":
        listed = self._reader.listings.position(request.user_id)
        known = self._reader.own_data.position(request.user_id) if base is None else base.position
        positions = [one for one in (listed, known) if one is not None]
        recent = Recent.of(self._log, positions)
        if base is None:
            await self._extensions.prepare(request)
        now_ms = self._clock.now_ms()
        read = partial(self._read_and_write, request, base, recent, now_ms, is_over)
        storing = partial(_storing, request, base, now_ms)
        found: _Answer | None
        stored: int | None
        found, stored = await self._database.read(snapshot_then, read, storing)
        if found is None:
            raise _unknown_pos()
        if not found.is_stored:
            return found
        if stored is None:
            raise _unknown_pos()
        return evolve(found, pos=Pos(stored, found.position))

    def _read_and_write(
        self,
        request: SlidingRequest,
        base: SlidingPosition | None,
        recent: Recent,
        now_ms: int,
        is_over: bool,
        txn: Transaction,
    ) -> "_Answer | None":
        """In a database thread: an answer may be large."""
        answer = self._reader.read(txn, request, base, recent, now_ms)
        if answer is None:
            return None
        return self._written(request, base, answer, now_ms, is_over=is_over)

    def _written(
        self,
        request: SlidingRequest,
        base: SlidingPosition | None,
        answer: ReadAnswer,
        now_ms: int,
        *,
        is_over: bool,
    ) -> "_Answer":
        position = answer.result.position
        if not (is_over or answer.result.is_news):
            return _Answer(position, answer.changes)
        body = orjson.dumps(write_answer(request, answer.result, now_ms))
        if base is None or answer.changes or not _asks_the_same(request, base):
            return _Answer(position, answer.changes, body)
        return _Answer(position, answer.changes, body, _same_row(request, base, position))

    async def _acknowledged(self, request: SlidingRequest) -> SlidingRequest:
        """Messages to the device have a token of their own, whatever becomes of the connection.

        With one from a stream that came further than ours, the device may have none of those that there are now.
        """
        since = request.to_device_since
        if since is None:
            return request
        if await reached(self._log, self._database, since) < since:
            return evolve(request, to_device_since=None)
        v3 = SyncRequest(request.requester, since, 0, SyncFilter(), delivered=since)
        for section in self._extensions.of(TO_DEVICE):
            await section.acknowledge(v3)
        return request


@frozen
class _Answer:
    """As of a position of the stream; `body` None: it is not to be sent.

    `pos` None: it gets a row of its own, because it changes what the client knows of rooms, or what it asks for.
    """

    position: int
    changes: Changed
    body: bytes | None = None
    pos: Pos | None = None

    @property
    def is_stored(self) -> bool:
        return self.body is not None and self.pos is None


def with_pos(pos: Pos, body: bytes) -> bytes:
    """The body of an answer with its position: it is only known when all else is written."""
    return b'{"pos":"%b",%b' % (str(pos).encode(), body[1:])


def _asks_the_same(request: SlidingRequest, base: SlidingPosition) -> bool:
    return base.asked == request.asked and set(base.extensions) == request.extensions.keys()


def _same_row(request: SlidingRequest, base: SlidingPosition, position: int) -> Pos:
    """The client knows what it knew, up to here."""
    before = request.pos
    repeated = before.repeated + 1 if before is not None and before.position == position else 0
    return Pos(base.position_nid, position, repeated)


def _storing(
    request: SlidingRequest, base: SlidingPosition | None, now_ms: int, answer: _Answer | None
) -> Callable[[Transaction], int | None] | None:
    """What writes the answer's row, if it has one."""
    if answer is None or not answer.is_stored:
        return None
    new = store.NewAnswer(answer.position, request.asked, request.extensions.keys(), answer.changes)
    return partial(_store, _key(request), base, new, now_ms)


def _store(
    key: ConnectionKey, base: SlidingPosition | None, answer: store.NewAnswer, now_ms: int, txn: Transaction
) -> int | None:
    """The nid of the new position; None when another request has led the connection on."""
    if base is None:
        return store.open_connection(txn, key, answer, now_ms)
    txn.later("BEGIN")
    store.commit_soon(txn)
    stored = store.add_answer(txn, base.connection_nid, answer) if store.hold(txn, base) else None
    txn.finish("COMMIT")
    return stored


def _key(request: SlidingRequest) -> ConnectionKey:
    return ConnectionKey(request.user_id, request.requester.device_id or "", request.conn_id)


def _unknown_pos() -> MatrixError:
    return MatrixError(400, Errcode.UNKNOWN_POS, "Unknown position")
