"""A few large answers at a time: what one of them needs in memory, others must not need at once."""

from collections import Counter, deque
from collections.abc import Hashable

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.clock import Clock
from synapse_lite.errors import limit_exceeded

AT_ONCE = 8
OF_ONE = 2
MAX_WAITING = 200
WAIT_SECONDS = 30.0
RETRY_AFTER_MS = 5000


@frozen(eq=False)
class _Waiter:
    who: Hashable
    turn: "Deferred[None]"


class LargeAnswers:
    """`AT_ONCE` in a process, of which one client has at most `OF_ONE`. First come, first served."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: Counter[Hashable] = Counter()
        self._waiting: deque[_Waiter] = deque()

    async def acquire(self, who: Hashable) -> None:
        """Wait for a place, which `release` gives back; 429 `M_LIMIT_EXCEEDED` when none is free in time."""
        if self._is_free(who):
            self._running[who] += 1
            return
        if len(self._waiting) >= MAX_WAITING:
            raise limit_exceeded(RETRY_AFTER_MS)
        waiter = _Waiter(who, Deferred())
        self._waiting.append(waiter)
        late = self._clock.call_later(WAIT_SECONDS, waiter.turn.errback, limit_exceeded(RETRY_AFTER_MS))
        try:
            await waiter.turn
        except CancelledError:
            if waiter not in self._waiting:  # it had just got its place
                self.release(who)
            raise
        finally:
            if late.active():
                late.cancel()
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def release(self, who: Hashable) -> None:
        self._running[who] -= 1
        if self._running[who] <= 0:
            del self._running[who]
        for waiter in tuple(self._waiting):
            if self._is_free(waiter.who):
                self._waiting.remove(waiter)
                self._running[waiter.who] += 1
                waiter.turn.callback(None)

    def _is_free(self, who: Hashable) -> bool:
        return self._running.total() < AT_ONCE and self._running[who] < OF_ONE
