"""One piece of work for all who ask for the same at the same time."""

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Flights(Generic[K, T]):
    """What is under way, by key. Who stops waiting does not stop the work: others may wait for it, too."""

    def __init__(self) -> None:
        self._under_way: dict[K, list[Deferred[T]]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def __contains__(self, key: K) -> bool:
        return key in self._under_way

    async def join(self, key: K, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the work under way, or of that which begins now."""
        mine: Deferred[T] = Deferred()
        waiting = self._under_way.get(key)
        if waiting is not None:
            waiting.append(mine)
        else:
            self._under_way[key] = [mine]
            work = Deferred.fromCoroutine(begin())
            work.addCallbacks(lambda result: self._end(key, result), lambda failure: self._end(key, failure))
        return await mine

    async def landed(self, key: K) -> None:
        """Until the work under way, if there is any, has ended, whatever comes of it."""
        if key in self._under_way:
            over: Deferred[None] = Deferred()
            mine: Deferred[T] = Deferred()
            mine.addBoth(lambda _: over.callback(None))
            self._under_way[key].append(mine)
            await over

    def _end(self, key: K, result: T | Failure) -> None:
        for waiting in self._under_way.pop(key):
            waiting.callback(result)  # a Failure makes it fail
