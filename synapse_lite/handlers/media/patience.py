"""Waiting for what another request, or another process, is doing."""

from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock

LOOK_SECONDS = 5.0


class Patience:
    """Waits for wake-ups, every few seconds for none, until its time is over."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.over = seconds <= 0
        self._clock = clock
        self._woken = False
        self._waiting: Deferred[None] | None = None
        self._end = clock.call_later(seconds, self._finish)

    def wake(self, _payload: str = "") -> None:
        """One that comes while nobody waits counts for the next wait."""
        self._woken = True
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    async def until_woken(self) -> None:
        look = self._clock.call_later(LOOK_SECONDS, self.wake)
        try:
            if not self._woken:
                self._waiting = Deferred()
                await self._waiting
        finally:
            self._woken = False
            if look.active():
                look.cancel()

    def stop(self) -> None:
        if self._end.active():
            self._end.cancel()

    def _finish(self) -> None:
        self.over = True
        self.wake()
