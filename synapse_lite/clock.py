"""Time as an argument: whatever waits or stamps is handed a clock, so that tests own time."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

_MOST_DOUBLINGS = 100  # beyond any pause, and far from where floats end


class DelayedCall(Protocol):
    """Twisted's `IDelayedCall`, as much of it as is used here."""

    def cancel(self) -> None: ...
    def active(self) -> bool: ...


class Timers(Protocol):
    """Twisted's `IReactorTime`, as much of it as is used here."""

    def callLater(  # noqa: N802 (Twisted's name)
        self, delay: float, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> DelayedCall: ...


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since 1970, as Matrix counts time: for stamps. It may be set, also backwards."""

    def monotonic(self) -> float:
        """Seconds that only go forward: for deadlines, and for whatever is measured."""

    def call_later(self, seconds: float, function: Callable[..., Any], *args: Any) -> DelayedCall: ...

    def sleep(self, seconds: float) -> "Deferred[None]": ...


class ReactorClock:
    """The reactor's timers and the machine's clocks."""

    def __init__(self, reactor: Timers) -> None:
        self._reactor = reactor

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, seconds: float, function: Callable[..., Any], *args: Any) -> DelayedCall:
        return self._reactor.callLater(seconds, function, *args)

    def sleep(self, seconds: float) -> "Deferred[None]":
        waiting: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._reactor.callLater(seconds, waiting.callback, None)
        return waiting


def doubling_pause(first: float, times: int, longest: float) -> float:
    """`first`, doubled so many times, however many they are; at most `longest`."""
    return min(first * 2.0 ** min(times, _MOST_DOUBLINGS), longest)
