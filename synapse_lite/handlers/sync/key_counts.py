"""How many one-time keys the device has left, and whether its fallback key is unused, in /sync.

Both stand in every answer, as of when it is written; only a device that has run out of keys is woken for it.
"""

from abc import abstractmethod
from collections.abc import Sequence

from synapse_lite.handlers.device_keys import counts_answer
from synapse_lite.handlers.key_counts import KeyCountsReader
from synapse_lite.handlers.sync.sections import UNKNOWN, Preparing, SyncSection, Unknown
from synapse_lite.handlers.sync.values import Part, Reading, SyncRequest
from synapse_lite.storage.one_time_keys import KeyCounts, read_counts
from synapse_lite.storage.stream import Change, Kind

MEMO = "key counts"


class _Counts(SyncSection):
    kinds = frozenset({Kind.KEY_COUNTS, Kind.KEYS_NEEDED})
    is_news = False

    def __init__(self, counts: KeyCountsReader) -> None:
        self._counts = counts

    def initial(self, reading: Reading) -> Part | None:
        return self._stored(reading)

    def since(self, reading: Reading, changes: Sequence[Change]) -> Part | None:  # noqa: ARG002
        return self._stored(reading)

    def prepare(self, request: SyncRequest, changes: Sequence[Change]) -> Preparing | None:  # noqa: ARG002
        return None if self._counts.knows(request.user_id) else self._counts.prepare(request.user_id)

    def live(self, request: SyncRequest, changes: Sequence[Change]) -> Part | Unknown | None:  # noqa: ARG002
        if request.device_id is None:
            return None
        counts = self._counts.of(request.user_id, request.device_id)
        return UNKNOWN if counts is None else self._shown(counts)

    def _stored(self, reading: Reading) -> Part | None:
        request = reading.request
        if request.device_id is None:
            return None
        if MEMO not in reading.memo:
            known = self._counts.at(request.user_id, request.device_id, reading.position)
            reading.memo[MEMO] = known or read_counts(reading.txn, request.user_id, request.device_id)
        return self._shown(reading.memo[MEMO])

    @abstractmethod
    def _shown(self, counts: KeyCounts) -> Part: ...


class OneTimeKeyCounts(_Counts):
    key = "device_one_time_keys_count"

    def _shown(self, counts: KeyCounts) -> Part:
        return counts_answer(counts)


class UnusedFallbackKeys(_Counts):
    key = "device_unused_fallback_key_types"

    def _shown(self, counts: KeyCounts) -> Part:
        return list(counts.unused_fallback)


class KeysNeeded(OneTimeKeyCounts):
    """The same counts, as news: the last one-time key is gone, or the fallback key is used for the first time."""

    kinds = frozenset({Kind.KEYS_NEEDED})
    is_news = True

    def initial(self, reading: Reading) -> Part | None:  # noqa: ARG002
        return None

    def since(self, reading: Reading, changes: Sequence[Change]) -> Part | None:
        return super().since(reading, changes) if _of_device(reading.request, changes) else None

    def live(self, request: SyncRequest, changes: Sequence[Change]) -> Part | Unknown | None:
        return super().live(request, changes) if _of_device(request, changes) else None


def _of_device(request: SyncRequest, changes: Sequence[Change]) -> bool:
    return any(change.device_id == request.device_id for change in changes)
