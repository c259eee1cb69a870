"""Messages between processes through PostgreSQL: here two buses on one reactor."""

from collections.abc import Iterator
from errno import EMFILE
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from synapse_lite.clock import ReactorClock
from synapse_lite.federation import resync, staging
from synapse_lite.replication import changes
from synapse_lite.replication.bus import LocalBus
from synapse_lite.replication.postgres_bus import MAX_PAYLOAD_BYTES, PostgresBus
from synapse_lite.storage.database import Database, DatabaseError
from synapse_lite.storage.session import Listener
from tests.http.memory import ManualClock

PING_SECONDS = 30.0

Pair = tuple[PostgresBus, PostgresBus]


class Inbox:
    """What a subscriber got, and a way to wait for a message."""

    def __init__(self, bus: PostgresBus, topic: str) -> None:
        self.received: list[str] = []
        self._waiting: dict[str, Deferred[None]] = {}
        bus.subscribe(topic, self._receive)

    def _receive(self, payload: str) -> None:
        self.received.append(payload)
        if payload in self._waiting:
            self._waiting.pop(payload).callback(None)

    async def until(self, payload: str) -> None:
        if payload not in self.received:
            self._waiting[payload] = Deferred()
            await self._waiting[payload]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def buses(clock: ManualClock, database_arguments: dict[str, Any]) -> Iterator[Pair]:
    pair = (
        PostgresBus(reactor, clock, database_arguments, ping_seconds=PING_SECONDS),
        PostgresBus(reactor, clock, database_arguments, ping_seconds=PING_SECONDS),
    )
    for bus in pair:
        pytest_twisted.blockon(Deferred.fromCoroutine(bus.start()))
    yield pair
    for bus in pair:
        pytest_twisted.blockon(Deferred.fromCoroutine(bus.stop()))


async def terminate(database: Database, application: str) -> None:
    await database.read(
        lambda txn: txn.rows(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()",
            (application,),
        )
    )


@ensureDeferred
async def test_a_message_reaches_others_and_ourselves_once(buses: Pair) -> None:
    """Subscribers here are called at once, those of the other process soon, each one time."""
    here, there = Inbox(buses[0], "tasks"), Inbox(buses[1], "tasks")
    elsewhere = Inbox(buses[1], "stream")
    buses[0].publish("tasks", "a b")
    assert here.received == ["a b"]
    await there.until("a b")
    buses[1].publish("tasks", "back")
    await here.until("back")
    assert (here.received, there.received, elsewhere.received) == (["a b", "back"], ["a b", "back"], [])


@ensureDeferred
@pytest.mark.parametrize("topic", [changes.URGENT_TOPIC, resync.TOPIC, staging.TOPIC])
async def test_its_topic_is_what_others_hear_a_message_by(buses: Pair, topic: str) -> None:
    """Topics of two words came as others, with the rest before the payload: urgent news as those of the stream."""
    inbox, stream = Inbox(buses[1], topic), Inbox(buses[1], changes.TOPIC)
    buses[0].publish(topic, "7")
    buses[0].publish(changes.TOPIC, "8")
    await stream.until("8")
    assert (inbox.received, stream.received) == (["7"], ["8"])


def test_a_topic_is_one_word() -> None:
    """Whoever names another one the same way learns it from the first test that runs it."""
    with pytest.raises(ValueError, match="one word"):
        LocalBus().subscribe("two words", lambda _: None)


@ensureDeferred
async def test_a_burst_is_merged_and_its_last_message_wins(buses: Pair) -> None:
    """Many publications of a topic become few messages; other topics are kept apart."""
    inbox, other = Inbox(buses[1], "stream"), Inbox(buses[1], "tasks")
    for number in range(500):
        buses[0].publish("stream", str(number))
    buses[0].publish("tasks")
    await inbox.until("499")
    await other.until("")
    assert inbox.received[-1] == "499"
    assert len(inbox.received) < 100


@ensureDeferred
async def test_after_a_broken_connection_every_subscriber_is_told(buses: Pair, database: Database) -> None:
    """A listener that lost its connection gets an empty payload when it listens again, then goes on."""
    inbox = Inbox(buses[1], "stream")
    await terminate(database, "synapse_lite_listener")
    await inbox.until("")
    buses[0].publish("stream", "after")
    await inbox.until("after")


@ensureDeferred
async def test_a_listener_without_descriptors_tries_again(
    database: Database, database_arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as the process has one left, it listens."""
    bus = PostgresBus(reactor, ReactorClock(reactor), database_arguments)
    await bus.start()
    inbox, listen, failures = Inbox(bus, "stream"), Listener.open, [OSError(EMFILE, "too many")] * 2

    def open_listener(arguments: dict[str, Any], channel: str) -> Listener:
        if failures:
            raise failures.pop()
        return listen(arguments, channel)

    monkeypatch.setattr(Listener, "open", open_listener)
    await terminate(database, "synapse_lite_listener")
    await inbox.until("")
    assert failures == []
    await bus.stop()


@ensureDeferred
async def test_a_broken_sender_sends_again(buses: Pair, database: Database) -> None:
    """A message that could not be sent is sent on a new connection."""
    inbox = Inbox(buses[1], "stream")
    buses[0].publish("stream", "before")
    await inbox.until("before")
    await terminate(database, "synapse_lite_sender")
    buses[0].publish("stream", "after")
    await inbox.until("after")


@ensureDeferred
async def test_a_silent_connection_is_replaced(buses: Pair, clock: ManualClock) -> None:
    """A connection that is open but delivers nothing is noticed, because our own message is missing."""
    inbox = Inbox(buses[1], "stream")
    assert buses[1]._reader is not None
    watching: Any = reactor
    watching.removeReader(buses[1]._reader)  # as a firewall that swallows packets
    clock.advance(PING_SECONDS)
    clock.advance(PING_SECONDS)
    await inbox.until("")
    buses[0].publish("stream", "after")
    await inbox.until("after")


@ensureDeferred
async def test_a_healthy_connection_is_kept(buses: Pair, clock: ManualClock) -> None:
    """The messages to ourselves come back, and are nobody else's business."""
    inbox = Inbox(buses[0], "ping")
    reader = buses[0]._reader
    for _ in range(3):
        clock.advance(PING_SECONDS)
        while buses[0]._ping_unanswered:
            await ReactorClock(reactor).sleep(0.01)
    clock.advance(PING_SECONDS)
    assert buses[0]._reader is reader
    assert inbox.received == []


@ensureDeferred
async def test_a_subscription_ends(buses: Pair) -> None:
    """A subscriber that left is not called; one that fails does not disturb the others."""
    received: list[str] = []
    leave = buses[0].subscribe("tasks", received.append)
    buses[0].subscribe("tasks", lambda payload: 1 / 0)
    inbox = Inbox(buses[0], "tasks")
    leave()
    buses[0].publish("tasks", "x")
    assert (received, inbox.received) == ([], ["x"])


def test_a_large_message_is_refused(database_arguments: dict[str, Any]) -> None:
    """PostgreSQL would refuse it later, with others in the same statement."""
    bus = PostgresBus(reactor, ReactorClock(reactor), database_arguments)
    with pytest.raises(ValueError, match="too large"):
        bus.publish("stream", "x" * (MAX_PAYLOAD_BYTES + 1))


@ensureDeferred
async def test_a_bus_without_database_does_not_start(database_arguments: dict[str, Any]) -> None:
    """The caller learns at once, and may stop what never started."""
    bus = PostgresBus(reactor, ReactorClock(reactor), {**database_arguments, "dbname": "none"})
    with pytest.raises(DatabaseError):
        await bus.start()
    await bus.stop()
