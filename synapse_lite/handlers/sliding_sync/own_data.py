"""A user's account data as clients get it to begin with, for whoever of them starts anew: an app does so each time that it is opened."""

import orjson
from attrs import evolve, frozen

from synapse_lite.handlers.sliding_sync.recent import Recent
from synapse_lite.handlers.sync.sections import Shown, SyncSection
from synapse_lite.handlers.sync.values import Reading
from synapse_lite.storage.cache import Cache

REMEMBERED_BYTES = 4 * 1024 * 1024  # as JSON


@frozen
class _Known:
    """As of a position of the stream; `weight` in bytes."""

    position: int
    part: Shown | None
    weight: int


class RememberedAccountData:
    """For database threads."""

    def __init__(self) -> None:
        self._known: Cache[str, _Known] = Cache(REMEMBERED_BYTES)

    def position(self, user_id: str) -> int | None:
        """As of which it is remembered."""
        known = self._known.get(user_id)
        return known.position if known else None

    def initial(self, section: SyncSection, reading: Reading, recent: Recent) -> Shown | None:
        """As `section.initial`; read only where something has changed, as far as memory knows."""
        user_id, known = reading.request.user_id, self._known.get(reading.request.user_id)
        if known is not None and _holds(known, section, reading, recent):
            known = evolve(known, position=reading.position)
        else:
            part = section.initial(reading)
            known = _Known(reading.position, part, 1 if part is None else len(orjson.dumps(part)))
        self._known.put(user_id, known, known.weight)
        return known.part


def _holds(known: _Known, section: SyncSection, reading: Reading, recent: Recent) -> bool:
    if known.position > reading.position:
        return False  # another thread sees more, or a backup was restored
    changes = recent.between(known.position, reading.position)
    return changes is not None and not any(
        change.kind in section.kinds and change.user_id == reading.request.user_id for change in changes
    )
