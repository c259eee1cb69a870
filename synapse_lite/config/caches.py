"""How much is kept in memory."""

from pydantic import Field

from synapse_lite.config.options import Options
from synapse_lite.config.units import MEBIBYTE

# At a global_factor of 1.
_EVENT_BYTES = 60 * MEBIBYTE
_STATE_BYTES = 16 * MEBIBYTE
_HISTORY_BYTES = 4 * MEBIBYTE
_MEDIA_ROWS = 4000  # of about 1 KiB each, and as many thumbnails of half of it


class Caches(Options):
    global_factor: float = Field(
        default=0.5,
        gt=0,
        description="How much of events, room state, what was read of rooms' pasts, and rows of media each process keeps in memory: 86 MiB at 1, 43 MiB at 0.5.",
    )

    @property
    def event_bytes(self) -> int:
        return int(_EVENT_BYTES * self.global_factor)

    @property
    def state_bytes(self) -> int:
        return int(_STATE_BYTES * self.global_factor)

    @property
    def history_bytes(self) -> int:
        return int(_HISTORY_BYTES * self.global_factor)

    @property
    def media_rows(self) -> int:
        return int(_MEDIA_ROWS * self.global_factor)


class CacheOptions(Options):
    """Caches"""

    caches: Caches = Field(default=Caches(), description="Sizes of the caches.")
