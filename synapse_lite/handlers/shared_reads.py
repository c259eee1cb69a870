"""What many requests want to know at the same moment is read once for all of them."""

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database, Transaction

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SharedReads(Generic[K, V]):
    """Values by key, in memory; one reading at a time, of all keys that were asked for meanwhile.

    `read` runs in a database thread, and has a value for every key. Whoever hears that a value changed
    calls `forget`: what is being read at that moment is then read again. For the reactor only.

    `remembered` is how many values are kept, or how much they weigh together by `weigh`.
    """

    def __init__(
        self,
        database: Database,
        read: Callable[[Transaction, Collection[K]], Mapping[K, V]],
        remembered: int,
        weigh: Callable[[V], int] = lambda _: 1,
    ) -> None:
        self._database = database
        self._read = read
        self._weigh = weigh
        self._cache: Cache[K, V] = Cache(remembered)
        self._wanted: set[K] = set()
        self._void: set[K] = set()
        self._waiting: list[Deferred[None]] | None = None  # None: nobody reads

    def cached(self, keys: Collection[K]) -> dict[K, V]:
        """Those of the keys whose values are in memory."""
        return self._cache.find(keys) if keys else {}

    async def of(self, keys: Collection[K]) -> dict[K, V]:
        """The values of all the keys."""
        found = self.cached(keys)
        while missing := [key for key in keys if key not in found]:
            self._wanted.update(missing)
            if self._waiting is None:
                found |= await self._read_wanted()
            else:
                turn: Deferred[None] = Deferred()
                self._waiting.append(turn)
                await turn
            found |= self.cached(missing)
        return found

    def forget(self, key: K) -> None:
        self.forget_all([key])

    def forget_all(self, keys: Collection[K]) -> None:
        """One message may be for thousands of devices, of which few are in memory."""
        if self._waiting is not None:
            self._void.update(keys)
        self._cache.remove_all(keys)

    async def _read_wanted(self) -> Mapping[K, V]:
        """Read what is wanted; those who came meanwhile look again, whatever became of it."""
        wanted, self._wanted, self._void, self._waiting = self._wanted, set(), set(), []
        try:
            values = await self._database.snapshot(self._read, wanted)
            fresh = {key: value for key, value in values.items() if key not in self._void}
            for key, value in fresh.items():
                self._cache.put(key, value, self._weigh(value))
            return fresh
        finally:
            waiting, self._waiting = self._waiting, None
            for turn in waiting:
                if not turn.called:
                    turn.callback(None)
