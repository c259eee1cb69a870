"""Waking somebody who sleeps."""

from contextlib import suppress

from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.clock import Clock


class Signal:
    """Wakes one sleeper; remembers that it was set when nobody slept."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_set = False
        self._sleep: Deferred[None] | None = None

    def set(self) -> None:
        self._is_set = True
        if self._sleep is not None:
            self._sleep.cancel()

    async def wait(self, seconds: float) -> None:
        if not self._is_set:
            self._sleep = self._clock.sleep(seconds)
            with suppress(CancelledError):
                await self._sleep
            self._sleep = None
        self._is_set = False
