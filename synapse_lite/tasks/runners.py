"""The incarnation of a process: the sign of life on which its leases hang."""

import logging
from collections.abc import Callable, Collection, Mapping
from threading import Event, Thread

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.ids import random_text
from synapse_lite.storage.database import DatabaseError
from synapse_lite.storage.session import Session
from synapse_lite.storage.tasks import Capability, beat, register_runner

logger = logging.getLogger(__name__)

BEATS_PER_LEASE = 4
_TICKS_PER_BEAT = 4


class Heartbeat:
    """Keeps an incarnation `name#random` alive, from a thread and on a connection of its own.

    It beats only when the reactor has ticked since the last beat: a process whose reactor hangs must
    lose its tasks. An incarnation that expired is never revived: the next one takes its place.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        clock: Clock,
        arguments: Mapping[str, object],
        *,
        name: str,
        capabilities: Collection[Capability],
        lease_seconds: float = 15.0,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._name = name
        self._capabilities = capabilities
        self.lease_seconds = lease_seconds
        self._ttl_ms = round(lease_seconds * 1000)
        self._interval = lease_seconds / BEATS_PER_LEASE
        settings = {
            "application_name": "synapse_lite_heartbeat",
            "statement_timeout": str(self._ttl_ms),
        }
        self._session = Session(arguments, settings)
        self._ticked = Event()
        self._stopping = Event()
        self._next_tick: DelayedCall | None = None
        self._registered: Deferred[None] = Deferred()
        self._ended: Deferred[None] = Deferred()

    async def start(self, on_runner: Callable[[str], None]) -> None:
        """Returns after the first registration. `on_runner` is called with each new incarnation."""
        self._tick()
        Thread(target=self._run, args=(on_runner,), name="task-heartbeat", daemon=True).start()
        await self._registered

    async def stop(self) -> None:
        """Returns when no further beat will be sent; the incarnation lives until it expires or is removed."""
        self._stopping.set()
        if self._next_tick is not None:
            self._next_tick.cancel()
        await self._ended

    def _tick(self) -> None:
        self._ticked.set()
        self._next_tick = self._clock.call_later(self._interval / _TICKS_PER_BEAT, self._tick)

    def _run(self, on_runner: Callable[[str], None]) -> None:
        runner: str | None = None
        while not self._stopping.is_set():
            if self._ticked.is_set():
                self._ticked.clear()
                try:
                    runner = self._stay_alive(runner, on_runner)
                except DatabaseError as error:
                    logger.warning("no sign of life to the database: %s", error)
            else:
                logger.warning("the reactor hangs: no sign of life until it goes on")
            self._stopping.wait(self._interval)
        self._session.close()
        self._reactor.callFromThread(self._ended.callback, None)

    def _stay_alive(self, runner: str | None, on_runner: Callable[[str], None]) -> str:
        if runner is not None and self._session.transact(beat, runner, self._ttl_ms):
            return runner
        successor = f"{self._name}#{random_text(8)}"
        self._session.transact(register_runner, successor, self._name, self._capabilities, self._ttl_ms)
        self._reactor.callFromThread(self._adopt, successor, on_runner)
        return successor

    def _adopt(self, runner: str, on_runner: Callable[[str], None]) -> None:
        on_runner(runner)
        if not self._registered.called:
            self._registered.callback(None)
