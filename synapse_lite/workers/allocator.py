"""glibc's malloc, told what fits a server of a few threads; see docs/decisions/006-memory.md.

Where the C library is another one, nothing happens.
"""

import ctypes
from collections.abc import Callable

from synapse_lite.clock import Clock, DelayedCall

ARENAS = 1
TRIM_SECONDS = 10.0

_M_ARENA_MAX = -8  # malloc.h


def limit_arenas() -> None:
    """Call before the first thread starts: what one thread has freed another one may use."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)


def trim() -> None:
    """Give free pages back to the system, such as the 19 MiB of each password hash."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


class Trimmer:
    """Trims now and then, and not after each use: the pages of a busy process are soon wanted again."""

    def __init__(self, clock: Clock, trim: Callable[[], None] = trim) -> None:
        self._clock = clock
        self._trim = trim
        self._next: DelayedCall | None = None

    def start(self) -> None:
        self._next = self._clock.call_later(TRIM_SECONDS, self._run)

    def stop(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _run(self) -> None:
        self._trim()
        self.start()
