"""Following the stream: own commits, those of other processes, lost messages, gaps."""

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from synapse_lite.clock import ReactorClock
from synapse_lite.replication import changes as module
from synapse_lite.replication.bus import LocalBus
from synapse_lite.replication.changes import IDLE_SECONDS, POLL_SECONDS, PULSE_SECONDS, TOPIC, ChangeLog
from synapse_lite.replication.postgres_bus import PostgresBus
from synapse_lite.replication.waiters import KEPT_SECONDS, Waiter
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.stream import Change, Kind
from tests.builders import ALICE, BOB
from tests.http.memory import ManualClock


class Follower:
    """A log with what it was told, on a clock that the test moves."""

    def __init__(self, database: Database, bus: LocalBus | None = None) -> None:
        self.database = database
        self.bus = bus or LocalBus()
        self.clock = ManualClock()
        self.log = ChangeLog(database, EventStore(1_000_000), self.bus, self.clock)
        self.heard: list[int] = []
        self.log.listen(self._hear)
        self._awaited: tuple[int, Deferred[None]] | None = None

    def _hear(self, changes: list[Change]) -> None:
        self.heard += [change.position for change in changes]
        if self._awaited and self.log.position >= self._awaited[0]:
            self._awaited[1].callback(None)
            self._awaited = None

    async def reach(self, position: int) -> None:
        if self.log.position < position:
            self._awaited = position, Deferred()
            self.clock.advance(IDLE_SECONDS)
            await self._awaited[1]


async def _publish(database: Database, *, room_nid: int = 1, count: int = 1, user_id: str = ALICE) -> None:
    def publish(txn: Transaction) -> None:
        for _ in range(count):
            txn.publish(Kind.RECEIPT, room_nid=room_nid, user_id=user_id)

    await database.transact(publish)


def _positions(changes: list[Change] | None) -> list[int] | None:
    return None if changes is None else [change.position for change in changes]


@ensureDeferred
async def test_own_commits(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are heard at once, without asking the database, and told to the others."""
    await _publish(database, count=3)
    follower = Follower(database)
    told: list[str] = []
    await follower.log.start()
    follower.bus.subscribe(TOPIC, told.append)
    database.on_commit(follower.log.committed)
    monkeypatch.setattr(database, "read", None)
    await _publish(database, count=2)
    assert follower.heard == [4, 5]
    assert told == ["5"]
    assert follower.log.position == 5
    assert _positions(follower.log.since(3)) == [4, 5]
    assert _positions(follower.log.since(4)) == [5]
    assert follower.log.since(5) == follower.log.since(99) == []
    assert follower.log.since(2) is None  # before the start of this process


@ensureDeferred
async def test_who_serves_nobody_tells_others_only(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `start`, a process reads nothing and keeps nothing, but those that do are woken."""
    bus = LocalBus()
    worker, server = Follower(database, bus), Follower(database, bus)
    await server.log.start()
    database.on_commit(worker.log.committed)
    await _publish(database, count=2)
    await server.reach(2)
    assert server.heard == [1, 2]
    assert worker.heard == []
    assert worker.log.position == 0


@ensureDeferred
async def test_commits_of_another_process(database: Database) -> None:
    """Through one bus; each change once and in order, whoever made it."""
    bus = LocalBus()
    mine, other = Follower(database, bus), Follower(database, bus)
    for follower in (mine, other):
        await follower.log.start()
    for writer in (mine, other, other, mine):
        database.on_commit(writer.log.committed)
        await _publish(database, count=2)
    for follower in (mine, other):
        await follower.reach(8)
        assert follower.heard == list(range(1, 9))


@ensureDeferred
async def test_commits_that_arrive_out_of_order(database: Database, changes: list[Change]) -> None:
    """A gap is read from the database; what arrives late is not heard twice."""
    follower = Follower(database)
    await follower.log.start()
    await _publish(database)
    await _publish(database)
    follower.log.committed(changes[1:])
    assert follower.heard == []
    follower.log.committed(changes[:1])
    await follower.reach(2)
    follower.log.committed(changes[1:])
    assert follower.heard == [1, 2]


@ensureDeferred
async def test_a_message_that_comes_during_a_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed after the read began is read next, not at the next poll."""
    follower = Follower(database)
    await follower.log.start()
    read = database.read
    reads: list[int] = []

    async def slow(*arguments: object) -> object:
        result = await read(*arguments)  # type: ignore[arg-type]
        reads.append(1)
        if len(reads) == 1:
            await _publish(database)
            follower.bus.publish(TOPIC, "1")
        return result

    monkeypatch.setattr(database, "read", slow)
    follower.bus.publish(TOPIC)
    await follower.reach(1)
    assert follower.heard == [1]


@ensureDeferred
async def test_lost_messages(database: Database) -> None:
    """The poll finds what no message told of; so does a message without a position."""
    follower = Follower(database)
    await follower.log.start()
    await _publish(database)
    follower.clock.advance(POLL_SECONDS)
    await follower.reach(1)
    await _publish(database)
    follower.bus.publish(TOPIC, "")
    await follower.reach(2)
    assert follower.heard == [1, 2]


@ensureDeferred
async def test_long_ways_are_read_in_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, in order; what is too old for memory is not pretended to be known."""
    monkeypatch.setattr(module, "PAGE", 3)
    monkeypatch.setattr(module, "KEPT", 4)
    follower = Follower(database)
    await follower.log.start()
    await _publish(database, count=8)
    follower.clock.advance(POLL_SECONDS)
    await follower.reach(8)
    assert follower.heard == list(range(1, 9))
    assert _positions(follower.log.since(4)) == [5, 6, 7, 8]
    assert follower.log.since(3) is None


@ensureDeferred
async def test_nobody_waits(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many messages make one read; whoever asks meanwhile is told that memory is behind."""
    follower = Follower(database)
    await follower.log.start()
    read, reads = database.read, []
    monkeypatch.setattr(database, "read", lambda *arguments: reads.append(1) or read(*arguments))
    for position in (1, 2, 3):
        await _publish(database)
        follower.bus.publish(TOPIC, str(position))
    assert follower.log.is_behind
    assert reads == []
    await follower.reach(3)
    assert reads == [1]
    assert not follower.log.is_behind


@ensureDeferred
async def test_positions_that_are_gone(database: Database) -> None:
    """Rows that were deleted leave gaps; the log goes on behind them."""
    follower = Follower(database)
    await follower.log.start()
    await _publish(database, count=5)
    await database.transact(lambda txn: txn.execute("DELETE FROM stream WHERE position IN (1, 3, 5)"))
    follower.bus.publish(TOPIC, "5")
    await follower.reach(4)
    assert follower.heard == [2, 4]
    database.on_commit(follower.log.committed)
    await _publish(database)
    await follower.reach(6)
    assert follower.heard == [2, 4, 6]
    assert _positions(follower.log.since(2)) == [4, 6]


@ensureDeferred
async def test_a_failing_database(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next poll tries again."""
    follower = Follower(database)
    await follower.log.start()
    await _publish(database)
    with monkeypatch.context() as patch:
        patch.setattr(database, "read", lambda *_: (_ for _ in ()).throw(RuntimeError("no database")))
        follower.clock.advance(POLL_SECONDS)
    assert "cannot follow the stream" in caplog.text
    follower.clock.advance(POLL_SECONDS)
    await follower.reach(1)


@ensureDeferred
async def test_an_event_that_cannot_be_read(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits hears of what is new all the same."""
    follower = Follower(database)
    await follower.log.start()
    waiter = Deferred.fromCoroutine(follower.log.wait(Waiter({1}, BOB), 10))

    def fail(*_: object) -> None:
        raise ValueError("x")

    monkeypatch.setattr(EventStore, "load", fail)
    await _publish(database)
    follower.bus.publish(TOPIC, "1")
    await follower.reach(1)
    assert await waiter is True


@ensureDeferred
async def test_waiting(database: Database) -> None:
    """For one's rooms and oneself, not for others; until the time is up, or the process stops."""
    follower = Follower(database)
    await follower.log.start()
    database.on_commit(follower.log.committed)

    def wait(user_id: str, rooms: set[int], seconds: float = 10) -> "Deferred[bool]":
        return Deferred.fromCoroutine(follower.log.wait(Waiter(rooms, user_id), seconds))

    waiting = {"room": wait(BOB, {1, 2}), "self": wait(ALICE, set()), "neither": wait(BOB, {3})}
    await _publish(database, room_nid=2)
    assert (await waiting["room"], await waiting["self"]) == (True, True)
    assert not waiting["neither"].called
    follower.clock.advance(11)
    assert await waiting["neither"] is False
    assert await wait(BOB, {1}, 0) is False
    follower.clock.advance(KEPT_SECONDS + POLL_SECONDS)
    assert not [*follower.log.waiters.in_room(1)]
    assert follower.log.waiters.is_empty
    last = wait(BOB, {1})
    follower.log.stop()
    assert await last is False
    assert await wait(BOB, {1}) is False


@ensureDeferred
async def test_who_writes_is_answered_before_others_hear(database: Database) -> None:
    """A waiter is woken when the writer has gone on; what the log says is new at once."""
    follower = Follower(database)
    await follower.log.start()
    database.on_commit(follower.log.committed)
    waiter = Deferred.fromCoroutine(follower.log.wait(Waiter({1}, BOB), 10))
    await _publish(database)
    assert (follower.log.position, waiter.called) == (1, False)
    assert await waiter is True


@ensureDeferred
async def test_two_processes(database: Database, database_arguments: dict[str, object]) -> None:
    """With a bus of PostgreSQL each, a change arrives long before the poll."""
    clock = ReactorClock(reactor)
    buses = [PostgresBus(reactor, clock, database_arguments) for _ in range(2)]
    for bus in buses:
        await bus.start()
    writer, reader = (Follower(database, bus) for bus in buses)  # type: ignore[arg-type]
    try:
        for follower in (writer, reader):
            await follower.log.start()
        database.on_commit(writer.log.committed)
        waiter = Deferred.fromCoroutine(reader.log.wait(Waiter({1}, BOB), 10))
        await _publish(database)
        assert await waiter is True
        assert reader.heard == [1]
    finally:
        for bus in buses:
            await bus.stop()


@ensureDeferred
async def test_the_end_of_a_session_is_heard_at_once(database: Database) -> None:
    """Also by a process in which nobody waits, and which would otherwise read a little later."""
    follower = Follower(database)
    await follower.log.start()
    heard: Deferred[None] = Deferred()
    follower._awaited = 1, heard

    def publish(txn: Transaction) -> None:
        txn.publish(Kind.SESSION, user_id=ALICE)

    writer = ChangeLog(database, EventStore(0), follower.bus, follower.clock)
    database.on_commit(writer.committed)
    await database.transact(publish)
    await heard  # the clock did not move


@ensureDeferred
async def test_rooms_that_cannot_be_read(database: Database) -> None:
    """Those who share them with somebody do not hear of one change at leisure; of the next they do."""
    follower = Follower(database)
    database.on_commit(follower.log.committed)
    await follower.log.start()
    failures = [ValueError("x")]

    async def rooms_of(_user_id: str) -> set[int]:
        if failures:
            raise failures.pop()
        return {1}

    follower.log.share_rooms(rooms_of)
    waiting = Deferred.fromCoroutine(follower.log.wait(Waiter({1}, BOB, at_leisure=True), 100))
    for _ in range(2):
        await database.transact(lambda txn: txn.publish(Kind.PRESENCE, user_id=ALICE))
        follower.clock.advance(PULSE_SECONDS)
    assert waiting.called
    assert not await waiting


@ensureDeferred
async def test_who_shares_a_room_hears_of_devices(database: Database) -> None:
    """A change of somebody's devices wakes those in their rooms; one of a single device wakes that device."""
    follower = Follower(database)
    database.on_commit(follower.log.committed)
    await follower.log.start()

    async def rooms_of(user_id: str) -> set[int]:
        return {1} if user_id == ALICE else set()

    def wait(waiter: Waiter) -> "Deferred[bool]":
        return Deferred.fromCoroutine(follower.log.wait(waiter, 10))

    follower.log.share_rooms(rooms_of)
    near, far = wait(Waiter({1}, BOB, "B")), wait(Waiter({2}, BOB, "B"))
    await database.transact(lambda txn: txn.publish(Kind.DEVICE_LIST, user_id=ALICE))
    assert await near
    one, other = wait(Waiter({1}, BOB, "B")), wait(Waiter({1}, BOB, "C"))
    await database.transact(lambda txn: txn.publish(Kind.TO_DEVICE, user_id=BOB, device_id="B"))
    assert await one
    assert await far
    assert not other.called
    follower.log.stop()
    assert not await other
