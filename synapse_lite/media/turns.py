"""How much of one turn of the reactor media may take: others, who only send a message, wait for its end."""

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred


class Turns:
    """Lets at most `size` pass in a turn of the reactor; the others in the next ones, in their order."""

    def __init__(self, reactor: Any, size: int) -> None:
        self._reactor = reactor
        self._size = size
        self._left = size
        self._waiting: deque[tuple[Deferred[None], int]] = deque()
        self._ends = False

    async def take(self, weight: int = 1) -> None:
        """The last one that passes in a turn may weigh more than what is left of it."""
        if not self._ends:
            self._ends = True
            self._reactor.callLater(0, self._end)
        if self._left > 0:
            self._left -= weight
            return
        mine: Deferred[None] = Deferred()
        self._waiting.append((mine, weight))
        await mine

    def _end(self) -> None:
        self._left = self._size
        self._ends = bool(self._waiting)
        if self._ends:
            self._reactor.callLater(0, self._end)
        while self._waiting and self._left > 0:
            waiting, weight = self._waiting.popleft()
            self._left -= weight
            waiting.callback(None)
