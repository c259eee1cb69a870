"""Turns of callers: how many requests of one are served at once, from when on they are delayed, and how many may wait."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from attrs import define
from twisted.internet.defer import DeferredSemaphore

from synapse_lite.clock import Clock
from synapse_lite.errors import limit_exceeded


class ThrottleLimits(Protocol):
    """`window_size` and `sleep_delay` are milliseconds; see `rc_federation`."""

    @property
    def window_size(self) -> int: ...

    @property
    def sleep_limit(self) -> int: ...

    @property
    def sleep_delay(self) -> int: ...

    @property
    def reject_limit(self) -> int: ...

    @property
    def concurrent(self) -> int: ...


@define
class _Caller:
    """`arrivals`: when the requests of the window came, monotonic seconds; the newest, as many as may come without a delay."""

    places: DeferredSemaphore
    arrivals: deque[float]
    under_way: int = 0


class Throttle:
    """In the memory of this process. A caller is forgotten when nothing of it is under way, and its window is over."""

    def __init__(self, clock: Clock, limits: ThrottleLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._window = limits.window_size / 1000
        self._callers: dict[str, _Caller] = {}

    def __len__(self) -> int:
        """Callers that are known."""
        return len(self._callers)

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for the caller's turn, and have it until the end of the block.

        Raises 429 `M_LIMIT_EXCEEDED` when too many of its requests are under way.
        """
        self._forget()
        caller = self._caller(name)
        if caller.under_way >= self._limits.reject_limit:
            raise limit_exceeded(self._limits.window_size)
        is_late = self._note_arrival(caller)
        caller.under_way += 1
        try:
            if is_late:
                await self._clock.sleep(self._limits.sleep_delay / 1000)
            await caller.places.acquire()
            try:
                yield
            finally:
                caller.places.release()
        finally:
            caller.under_way -= 1

    def _caller(self, name: str) -> _Caller:
        caller = self._callers.get(name)
        if caller is None:
            arrivals: deque[float] = deque(maxlen=self._limits.sleep_limit)
            caller = _Caller(DeferredSemaphore(self._limits.concurrent), arrivals)
            self._callers[name] = caller
        return caller

    def _note_arrival(self, caller: _Caller) -> bool:
        """Whether more came in the window than are served without a delay."""
        now, arrivals = self._clock.monotonic(), caller.arrivals
        while arrivals and arrivals[0] <= now - self._window:
            arrivals.popleft()
        is_late = len(arrivals) >= self._limits.sleep_limit
        arrivals.append(now)
        return is_late

    def _forget(self) -> None:
        """Two are looked at for each request, so that there are never many more than those who ask."""
        over = self._clock.monotonic() - self._window
        for _ in range(min(2, len(self._callers))):
            name = next(iter(self._callers))
            caller = self._callers.pop(name)
            if caller.under_way or (caller.arrivals and caller.arrivals[-1] > over):
                self._callers[name] = caller
