"""What many requests look up at the same moment is read by one statement, and nothing is remembered."""

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

from synapse_lite.storage.database import Database, Transaction

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_KEYS = 100
"""Of one statement."""


class GatheredReads(Generic[K, V]):
    """Values by key: each was read after it was asked for. One reading at a time; who comes meanwhile is in the next.

    `read` runs in a database thread; a key that it has no value for is None. For the reactor only.
    """

    def __init__(
        self, database: Database, read: Callable[[Transaction, Collection[K]], Mapping[K, V]]
    ) -> None:
        self._database = database
        self._read = read
        self._wanted: dict[K, list[Deferred[V | None]]] = {}
        self._reads = False

    async def of(self, key: K) -> V | None:
        waiting: Deferred[V | None] = Deferred()
        self._wanted.setdefault(key, []).append(waiting)
        if not self._reads:
            self._reads = True
            Deferred.fromCoroutine(self._read_all())
        return await waiting

    async def _read_all(self) -> None:
        """Apart from who asks first, whose request may end."""
        while self._wanted:
            keys = list(self._wanted)[:MAX_KEYS]
            asking = {key: self._wanted.pop(key) for key in keys}
            try:
                values = await self._database.read(self._read, keys)
            except Exception as error:  # noqa: BLE001 (it is told to all who asked)
                for waiting in asking.values():
                    _fail(waiting, error)
            else:
                for key, waiting in asking.items():
                    _tell(waiting, values.get(key))
        self._reads = False


def _tell(waiting: Collection["Deferred[V | None]"], value: V | None) -> None:
    for one in waiting:
        if not one.called:
            one.callback(value)


def _fail(waiting: Collection["Deferred[V | None]"], error: Exception) -> None:
    for one in waiting:
        if not one.called:
            one.errback(error)
