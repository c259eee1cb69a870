"""How many one-time keys devices have left, in memory for those who ask at every poll."""

from collections.abc import Collection, Mapping, Sequence

from synapse_lite.handlers.shared_reads import SharedReads
from synapse_lite.storage import one_time_keys
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.one_time_keys import KeyCounts
from synapse_lite.storage.stream import Change, Kind, devices_of

REMEMBERED = 20_000  # users
NO_KEYS = KeyCounts({}, ())
_KINDS = frozenset({Kind.KEY_COUNTS, Kind.KEYS_NEEDED})

ByDevice = Mapping[str, KeyCounts]


class KeyCountsReader:
    """Counts by user and device. Give `on_changes` every change, before those who wait wake."""

    def __init__(self, database: Database) -> None:
        self._counts: SharedReads[str, ByDevice] = SharedReads(database, _read, REMEMBERED)
        self._seen = 0

    def on_changes(self, changes: Sequence[Change]) -> None:
        users = {user_id for user_id, _ in devices_of(changes, _KINDS)}
        users |= {change.user_id for change in changes if change.kind is Kind.SESSION and change.user_id}
        self._counts.forget_all(users)
        if changes:
            self._seen = changes[-1].position  # last: other threads look meanwhile

    def knows(self, user_id: str) -> bool:
        """Whether `of` tells."""
        return bool(self._counts.cached([user_id]))

    async def prepare(self, user_id: str) -> None:
        """From now on `of` knows the user's devices, until they change."""
        await self._counts.of([user_id])

    def of(self, user_id: str, device_id: str) -> KeyCounts | None:
        """None when memory cannot tell."""
        known = self._counts.cached([user_id]).get(user_id)
        return None if known is None else known.get(device_id, NO_KEYS)

    def at(self, user_id: str, device_id: str, position: int) -> KeyCounts | None:
        """As `of`, for any thread; None too when memory has not come to that position of the stream."""
        return self.of(user_id, device_id) if position <= self._seen else None


def _read(txn: Transaction, user_ids: Collection[str]) -> dict[str, ByDevice]:
    return one_time_keys.read_all_counts(txn, user_ids)
