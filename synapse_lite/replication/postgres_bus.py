"""The bus between processes: NOTIFY from a thread, LISTEN on the reactor."""

import logging
import random
from collections.abc import Callable, Mapping
from threading import Condition, Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.errors import SynapseLiteError
from synapse_lite.ids import random_text
from synapse_lite.replication.bus import Callback, LocalBus
from synapse_lite.storage.database import DatabaseError
from synapse_lite.storage.session import Listener, Session, notify

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

CHANNEL = "synapse_lite"
MAX_PAYLOAD_BYTES = 7900  # PostgreSQL takes 7999, with our own words in front
_PING = "ping"
_PAUSE_SECONDS = 0.002
_RETRY_SECONDS = 0.1
_MAX_RETRY_SECONDS = 5.0


class PostgresBus:
    """`Bus` over one channel of the database; the reactor watches sockets and has threads.

    Subscribers of this process are called directly, those of others through PostgreSQL. Every
    `ping_seconds` the bus sends a message to itself: one that does not come back means that the
    connection is dead though open. After a reconnect every subscriber gets an empty payload.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        arguments: Mapping[str, object],
        *,
        ping_seconds: float = 30.0,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._arguments = arguments
        self._ping_seconds = ping_seconds
        self._origin = random_text(8)
        self._local = LocalBus()
        # A hint need not survive a crash of the server: no commit waits for the disk because of it.
        settings = {"application_name": f"{CHANNEL}_sender", "synchronous_commit": "off"}
        self._sender = _Sender(Session(arguments, settings))
        self._reader: _Reader | None = None
        self._reconnecting: Deferred[None] | None = None
        self._next_ping: DelayedCall | None = None
        self._ping_unanswered = False

    async def start(self) -> None:
        """Returns when the bus receives; `DatabaseError` when there is no database."""
        await self._listen()
        self._sender.start()
        self._next_ping = self._clock.call_later(self._ping_seconds, self._ping)

    async def stop(self) -> None:
        """Send what waits, then close both connections."""
        if self._next_ping is not None:
            self._next_ping.cancel()
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        self._close_reader()
        await self._in_thread(self._sender.stop)

    def publish(self, topic: str, payload: str = "") -> None:
        """`ValueError` when the payload is larger than `MAX_PAYLOAD_BYTES`."""
        if len(payload.encode()) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"the message on {topic!r} is too large")
        self._local.publish(topic, payload)
        self._sender.send(topic, self._wrap(topic, payload))

    def subscribe(self, topic: str, callback: Callback) -> Callable[[], None]:
        return self._local.subscribe(topic, callback)

    def _wrap(self, topic: str, payload: str) -> str:
        return f"{self._origin} {topic} {payload}"

    def _received(self, messages: list[str]) -> None:
        for message in messages:
            origin, topic, payload = message.split(" ", 2)
            if topic == _PING:
                self._ping_unanswered &= origin != self._origin
            elif origin != self._origin:
                self._local.publish(topic, payload)

    def _ping(self) -> None:
        self._next_ping = self._clock.call_later(self._ping_seconds, self._ping)
        if self._reader is None:
            return
        if self._ping_unanswered:
            self._lost(SynapseLiteError("a message to ourselves did not arrive"))
        else:
            self._ping_unanswered = True
            self._sender.send(_PING, self._wrap(_PING, ""))

    async def _listen(self) -> None:
        listener = await self._in_thread(Listener.open, self._arguments, CHANNEL)
        self._ping_unanswered = False
        self._reader = _Reader(listener, self._received, self._lost)
        self._reactor.addReader(self._reader)

    def _lost(self, error: BaseException) -> None:
        if not self._reactor.running:
            return  # a process that could not start ends, and its reactor closes what is open
        logger.info("the bus lost its connection: %s", " ".join(str(error).split()))
        self._close_reader()
        self._reconnecting = Deferred.fromCoroutine(self._reconnect())
        self._reconnecting.addErrback(Failure.trap, CancelledError)

    async def _reconnect(self) -> None:
        seconds = _RETRY_SECONDS
        while self._reader is None:
            try:
                await self._listen()
            except (DatabaseError, OSError) as error:  # a process may have no descriptor left
                logger.info("the bus tries again: %s", error)
                await self._clock.sleep(random.uniform(seconds / 2, seconds))  # noqa: S311 (spreads load)
                seconds = min(seconds * 2, _MAX_RETRY_SECONDS)
        self._reconnecting = None
        self._local.publish_missed()

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reactor.removeReader(self._reader)
            self._reader.close()
            self._reader = None

    async def _in_thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        threads = self._reactor.getThreadPool()
        result: R = await deferToThreadPool(self._reactor, threads, function, *args, **kwargs)
        return result


class _Reader:
    """The listening socket as the reactor watches it (`IReadDescriptor`)."""

    def __init__(
        self,
        listener: Listener,
        received: Callable[[list[str]], None],
        lost: Callable[[BaseException], None],
    ) -> None:
        self._listener = listener
        self._received = received
        self._lost = lost

    def fileno(self) -> int:
        return self._listener.fileno()

    def doRead(self) -> None:  # noqa: N802 (Twisted's name)
        try:
            messages = self._listener.receive()
        except DatabaseError as error:
            self._lost(error)
        else:
            self._received(messages)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 (Twisted's name)
        """The other end hung up without a further word."""
        self._lost(reason.value or ConnectionError())

    def logPrefix(self) -> str:  # noqa: N802 (Twisted's name)
        return "bus"

    def close(self) -> None:
        self._listener.close()


class _Sender:
    """A thread that sends the latest message of each topic, as fast as PostgreSQL takes them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._condition = Condition()
        self._pending: dict[str, str] = {}
        self._stopping = False
        self._thread = Thread(target=self._run, name="bus-sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Blocks until what waits is sent, or could not be."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def send(self, topic: str, message: str) -> None:
        with self._condition:
            self._pending[topic] = message
            self._condition.notify()

    def _run(self) -> None:
        seconds = _RETRY_SECONDS
        while messages := self._take():
            try:
                self._session.read(notify, CHANNEL, messages.values())
            except DatabaseError as error:
                logger.warning("the bus could not send: %s", error)
                with self._condition:
                    self._pending = {**messages, **self._pending}
                    if self._condition.wait_for(lambda: self._stopping, seconds):
                        break
                seconds = min(seconds * 2, _MAX_RETRY_SECONDS)
            else:
                seconds = _RETRY_SECONDS
        self._session.close()

    def _take(self) -> dict[str, str]:
        """Wait for messages; none when it is time to stop."""
        with self._condition:
            self._condition.wait_for(lambda: self._pending or self._stopping)
            # A short pause, so that a burst of publications becomes one.
            self._condition.wait_for(lambda: self._stopping, _PAUSE_SECONDS)
            messages, self._pending = self._pending, {}
            return messages
