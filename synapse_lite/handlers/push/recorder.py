"""Writing down what was pushed, for several pushers at once."""

from attrs import define, field
from twisted.internet.defer import Deferred, ensureDeferred

from synapse_lite.storage import pushers as store
from synapse_lite.storage.database import Database
from synapse_lite.storage.pushers import Progress


@define
class Recorder:
    """One transaction at a time: what comes while it runs goes into the next one together."""

    _database: Database
    _waiting: list[tuple[Progress, "Deferred[bool]"]] = field(factory=list)
    _is_writing: bool = False

    async def record(self, progress: Progress) -> bool:
        """When it is committed; False when the pusher was set anew meanwhile, or is gone."""
        written: Deferred[bool] = Deferred()
        self._waiting.append((progress, written))
        if not self._is_writing:
            ensureDeferred(self._write())
        return await written

    async def _write(self) -> None:
        self._is_writing = True
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                same = await self._database.transact(store.record, [one for one, _ in batch])
            except Exception as error:  # noqa: BLE001 (told to those who wait)
                for _, written in batch:
                    written.errback(error)
            else:
                for one, written in batch:
                    written.callback(one.claimed.key in same)
        self._is_writing = False
