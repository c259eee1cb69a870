"""What was read lately of media that are often asked for, and what was just uploaded, until the stream tells that it changed."""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from synapse_lite.handlers.gathered_reads import GatheredReads
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database
from synapse_lite.storage.media import files
from synapse_lite.storage.media.files import Media
from synapse_lite.storage.media.told import told_by
from synapse_lite.storage.stream import Change, Kind

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values by key, as `read` finds them. For the reactor; give `on_changes` every change.

    What this process changes it knows before it answers, what another one changes when its message comes. Where no
    message comes the stream is read each second, and without the database nothing is remembered after `CURRENT_SECONDS`.
    """

    def __init__(
        self,
        log: ChangeLog,
        read: Callable[[K], Awaitable[V | None]],
        about: Callable[[K, V], bytes | None],
        most: int,
    ) -> None:
        """`about`: the hash of the bytes that a value tells of; None where it is not remembered. At most `most` values."""
        self._log = log
        self._read = read
        self._about = about
        self._most = most
        self._changes = 0
        self._kept = self._nothing()

    async def of(self, key: K) -> V | None:
        if not self._log.is_current:
            self._kept = self._nothing()
            return await self._read(key)
        kept = self._kept.get(key)
        return await self.learn(key, self._read(key)) if kept is None else kept[1]

    async def learn(self, key: K, finding: Awaitable[V | None]) -> V | None:
        """What is found, or left behind, by a transaction that begins when it is awaited."""
        before = self._changes
        value = await finding
        sha256 = None if value is None else self._about(key, value)
        # What was told meanwhile may be about what was just found.
        if value is not None and sha256 is not None and self._changes == before and self._log.is_current:
            self._kept.put(key, (sha256, value))
        return value

    def on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.kind is Kind.MEDIA:
                self._changes += 1
                self._forget(change)

    def _forget(self, change: Change) -> None:
        told = told_by(change)
        if told is None:
            self._kept = self._nothing()
            return
        self._kept.remove_all(told.names)
        if told.hashes:
            self._kept.discard(lambda kept: kept[0] in told.hashes)

    def _nothing(self) -> "Cache[Hashable, tuple[bytes, V]]":
        return Cache(self._most)


MediaRows = Remembered[tuple[str, str], Media]
"""By origin and media id."""


def media_rows(database: Database, log: ChangeLog, most: int) -> MediaRows:
    rows = Remembered(log, GatheredReads(database, files.read_many).of, _bytes_of, most)
    log.listen(rows.on_changes)
    return rows


def _bytes_of(_name: tuple[str, str], media: Media) -> bytes | None:
    """None until it is uploaded, which nobody tells."""
    return media.sha256
