"""What several requests write at the same moment is written together."""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_KEYS = 100
"""Of one writing."""


class GatheredWrites(Generic[K, V]):
    """Values by key, of which the last one counts. One writing at a time; what comes meanwhile goes into the next.

    A writing that fails is done again value by value, so that nobody hears of somebody else's fault. For the reactor only.
    """

    def __init__(self, write: Callable[[Mapping[K, V]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: dict[K, tuple[V, list[Deferred[None]]]] = {}
        self._is_writing = False

    async def put(self, key: K, value: V) -> None:
        """When it is written, or a later value of the same key that came before it was."""
        written: Deferred[None] = Deferred()
        _, others = self._waiting.pop(key, (value, []))
        self._waiting[key] = (value, [*others, written])
        if not self._is_writing:
            self._is_writing = True
            Deferred.fromCoroutine(self._write_all())
        await written

    async def _write_all(self) -> None:
        """Apart from who comes first, whose request may end."""
        while self._waiting:
            keys = list(self._waiting)[:MAX_KEYS]
            batch = {key: self._waiting.pop(key) for key in keys}
            error = await self._try(batch)
            for key, (value, waiting) in batch.items():
                alone = (
                    error if len(batch) == 1 or error is None else await self._try({key: (value, waiting)})
                )
                for one in waiting:
                    _tell(one, alone)
        self._is_writing = False

    async def _try(self, batch: Mapping[K, tuple[V, object]]) -> Exception | None:
        try:
            await self._write({key: value for key, (value, _) in batch.items()})
        except Exception as error:  # noqa: BLE001 (it is told to all who wait)
            return error
        return None


def _tell(waiting: "Deferred[None]", error: Exception | None) -> None:
    if waiting.called:  # the client went away, which cancelled it
        return
    if error is None:
        waiting.callback(None)
    else:
        waiting.errback(error)
