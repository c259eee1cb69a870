"""Threads for what blocks, with less in between than Twisted's pools have: each statement of a request passes here."""

import contextvars
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
_Work = tuple["Deferred[Any] | None", Callable[[], object]]


class Threads:
    """At most `size` of them, each started when all others are busy. What is too much waits, in its order.

    For the reactor only; what it asks for after `stop` is never done.
    """

    def __init__(self, reactor: IReactorFromThreads, size: int, name: str) -> None:
        self._reactor = reactor
        self._size = size
        self._name = name
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._idle: deque[None] = deque()
        self._threads: list[Thread] = []
        self._stopped = False

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """The result; whoever stops waiting does not stop the thread. It sees the caller's context variables."""
        answer: Deferred[T] = Deferred()
        self._add(answer, partial(function, *args, **kwargs))
        return answer

    def begin(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """As `run`, when nobody waits for it; errors are logged."""
        self._add(None, partial(function, *args, **kwargs))

    def stop(self) -> None:
        """Wait for all that was asked for."""
        self._stopped = True
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _add(self, answer: "Deferred[Any] | None", function: Callable[[], object]) -> None:
        if self._stopped:
            return
        self._work.put((answer, partial(contextvars.copy_context().run, function)))
        try:
            self._idle.pop()
        except IndexError:
            self._start_one()

    def _start_one(self) -> None:
        if len(self._threads) < self._size:
            thread = Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            answer, function = work
            result = _outcome(function)
            del work, function  # what they hold must not live until the next one
            self._idle.append(None)  # first: who has the answer may ask again
            if answer is not None:
                self._reactor.callFromThread(answer.callback, result)
            elif isinstance(result, Failure):
                logger.error("Failed in a thread", exc_info=result.value)
            del answer, result


def _outcome(function: Callable[[], object]) -> object:
    """A Failure makes a Deferred fail."""
    try:
        return function()
    except BaseException:  # noqa: BLE001 (it is told to whoever waits)
        return Failure()
