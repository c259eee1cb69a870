"""A cache of what cannot change, bounded by size."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Least recently used values go first. Used by the reactor and by database threads alike.

    `capacity` has the unit of the weights given to `put`: bytes, or entries.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._weight = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def find(self, keys: Iterable[K]) -> dict[K, V]:
        """Those of the keys that are here."""
        found = {}
        with self._lock:
            for key in keys:
                entry = self._entries.get(key)
                if entry is not None:
                    self._entries.move_to_end(key)
                    found[key] = entry[0]
        return found

    def discard(self, unwanted: Callable[[V], bool]) -> None:
        """Forget some values: looks at all of them."""
        with self._lock:
            for key in [key for key, (value, _) in self._entries.items() if unwanted(value)]:
                self._weight -= self._entries.pop(key)[1]

    def remove(self, key: K) -> None:
        """Forget a value, if it is here."""
        if key in self._entries:
            self.remove_all((key,))

    def remove_all(self, keys: Iterable[K]) -> None:
        """Forget those of the values that are here."""
        with self._lock:
            for key in self._entries.keys() & keys:
                self._weight -= self._entries.pop(key)[1]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        with self._lock:
            old = self._entries.pop(key, None)
            self._entries[key] = (value, weight)
            self._weight += weight - (old[1] if old else 0)
            while self._weight > self._capacity:
                _, (_, freed) = self._entries.popitem(last=False)
                self._weight -= freed
