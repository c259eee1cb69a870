"""Memory and descriptors of a process: glibc's malloc, Python's garbage collector, the limit on files.

See docs/decisions/006-memory.md. Where the C library is another one, malloc stays as it is.
"""

import ctypes
import gc
import linecache
import logging
import resource
from collections.abc import Callable

from synapse_lite.clock import Clock, DelayedCall

logger = logging.getLogger(__name__)

ARENAS = 1
GC_THRESHOLDS = (10_000, 20, 100)
"""Requests leave no cycles, so that there is little to find: the collector looks seldom, and at young objects."""

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


def set_imports_aside() -> None:
    """Call when all is imported: it stays, and no collection during the start looks through it."""
    gc.freeze()


def settle_heap() -> None:
    """Call when the process has started: what is there now stays, and no collection looks through it again."""
    linecache.clearcache()  # attrs puts the text of its methods there
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def raise_file_limit(soft: int) -> None:
    """Let the process have `soft` descriptors, one for each connection; 0: as many as the system allows."""
    now, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if soft == 0 else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError) as error:
        logger.warning("soft_file_limit: %d of at most %d files are open to us: %s", now, hard, error)


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
