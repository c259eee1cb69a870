"""Waiting for messages of one topic of the bus."""

from typing import Self

from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock
from synapse_lite.replication.bus import Bus


class News:
    """Messages from the beginning of the block on: who looks in it, and then waits, misses none in between."""

    def __init__(self, bus: Bus, clock: Clock, topic: str) -> None:
        self._bus = bus
        self._clock = clock
        self._topic = topic
        self._is_there = False
        self._waiting: Deferred[None] | None = None

    def __enter__(self) -> Self:
        self._unsubscribe = self._bus.subscribe(self._topic, self._come)
        return self

    def __exit__(self, *_: object) -> None:
        self._unsubscribe()

    async def wait(self, seconds: float) -> None:
        """Until there was a message since the last wait; for so long at most."""
        if not self._is_there:
            self._waiting = Deferred()
            timer = self._clock.call_later(seconds, self._go_on)
            try:
                await self._waiting
            finally:
                self._waiting = None
                if timer.active():
                    timer.cancel()
        self._is_there = False

    def _come(self, _payload: str) -> None:
        self._is_there = True
        self._go_on()

    def _go_on(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)
