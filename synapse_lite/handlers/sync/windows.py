"""The timelines of rooms: which of the newest events a sync shows."""

from collections.abc import Sequence
from itertools import chain

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.stream import Place
from synapse_lite.storage.timeline import MISSING, Entry

MAX_BYTES = 8 * 1024 * 1024
"""The timelines of an answer have no more than so much of events: the newest ones, of whatever rooms."""
FEW = MAX_BYTES // 65536  # events of at most 64 KiB, of which no answer has too much


@frozen
class Window:
    """Entries, oldest first; `start` is the place before them, from where the past can be read."""

    entries: Sequence[Entry]
    limited: bool
    start: Place

    @property
    def nids(self) -> list[int]:
        return [nid for _, nid in self.entries]

    def after(self, place: Place) -> "Window":
        """What of the window comes after the place."""
        rest = [entry for entry in self.entries if entry[0] > place]
        if len(rest) == len(self.entries):
            return self
        return Window(rest, limited=True, start=self.entries[-len(rest) - 1][0])


def newest(entries: Sequence[Entry], visible: Sequence[Entry], limit: int, end: Place) -> Window:
    """The last `limit` of the entries, from the last one on that is hidden, or missing. `end` is where the sync ends."""
    hidden = (set(entries) - set(visible)) | {entry for entry in entries if entry[1] == MISSING}
    first = len(entries)
    while first > max(0, len(entries) - limit) and entries[first - 1] not in hidden:
        first -= 1
    shown = entries[first:]
    return Window(shown, first > 0, shown[0][0].before if shown else end)


def within_bytes(txn: Transaction, events: EventStore, windows: dict[int, Window]) -> dict[int, Window]:
    """The windows without the oldest events of all of them, where these are too many bytes for one answer."""
    entries = sorted(chain.from_iterable(window.entries for window in windows.values()), reverse=True)
    if len(entries) <= FEW:
        return windows
    fitting = events.within_bytes(txn, [nid for _, nid in entries], MAX_BYTES)
    if fitting == len(entries):
        return windows
    place = entries[fitting][0]
    return {nid: window.after(place) for nid, window in windows.items()}
