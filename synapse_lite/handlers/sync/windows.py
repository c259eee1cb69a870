"""The timelines of rooms: which of the newest events a sync shows."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.storage.timeline import Entry


@frozen
class Window:
    """Entries, oldest first; `start` is the position before them, from where the past can be read."""

    entries: Sequence[Entry]
    limited: bool
    start: int

    @property
    def nids(self) -> list[int]:
        return [nid for _, nid in self.entries]


def newest(entries: Sequence[Entry], visible: Sequence[Entry], limit: int, end: int) -> Window:
    """The last `limit` of the entries, from the last hidden one on. `end` is the position of the sync."""
    hidden = set(entries) - set(visible)
    first = len(entries)
    while first > max(0, len(entries) - limit) and entries[first - 1] not in hidden:
        first -= 1
    shown = entries[first:]
    return Window(shown, first > 0, shown[0][0] - 1 if shown else end)
