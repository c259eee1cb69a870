"""Time as an argument: whatever waits or stamps is handed a clock, so that tests own time."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since 1970, as Matrix counts time."""

    def call_later(self, seconds: float, function: Callable[..., Any], *args: Any) -> IDelayedCall: ...

    def sleep(self, seconds: float) -> "Deferred[None]": ...


class ReactorClock:
    """The reactor's timers and the machine's wall clock."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def call_later(self, seconds: float, function: Callable[..., Any], *args: Any) -> IDelayedCall:
        return self._reactor.callLater(seconds, function, *args)

    def sleep(self, seconds: float) -> "Deferred[None]":
        waiting: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._reactor.callLater(seconds, waiting.callback, None)
        return waiting
