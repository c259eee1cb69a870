"""How much is kept in memory."""

from pydantic import Field

from synapse_lite.config.options import Options
from synapse_lite.config.units import KIBIBYTE, MEBIBYTE, Size

# At a global_factor of 1.
_BYTES_OF_AN_EVENT = 6 * KIBIBYTE
_STATE_BYTES = 16 * MEBIBYTE
_HISTORY_BYTES = 4 * MEBIBYTE
_MEDIA_ROWS = 4000  # of about 1 KiB each, and as many thumbnails of half of it


class Caches(Options):
    global_factor: float = Field(
        default=0.5,
        gt=0,
        description="How much of events, room state, what was read of rooms' pasts, and rows of media each process keeps in memory: 86 MiB at 1, 43 MiB at 0.5, of which events, sized by event_cache_size, are 30.",
    )

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

    event_cache_size: Size = Field(
        default=10 * KIBIBYTE,
        description="How many events of 6 KiB have room in memory, at a global_factor of 1: most are smaller.",
    )
    caches: Caches = Field(default=Caches(), description="Sizes of the caches.")

    @property
    def event_cache_bytes(self) -> int:
        return int(_BYTES_OF_AN_EVENT * self.event_cache_size * self.caches.global_factor)
