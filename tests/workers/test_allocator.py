"""Memory that is free goes back to the system."""

import gc
import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest

from synapse_lite.workers.allocator import (
    GC_THRESHOLDS,
    TRIM_SECONDS,
    Trimmer,
    raise_file_limit,
    set_imports_aside,
    settle_heap,
)
from tests.http.memory import ManualClock

# One thread after the other takes and frees 16 MiB, as password hashes do, while both live; prints what stays
# resident before and after a trim, in MiB.
_HASH_AND_TRIM = """
import ctypes, os, threading
from synapse_lite.workers.allocator import limit_arenas, trim
limit_arenas()
libc, size = ctypes.CDLL(None), 16 * 2**20
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
turns = [threading.Event() for _ in range(3)]
def work(number):
    turns[number].wait()
    for _ in range(3):
        block = libc.malloc(size)
        ctypes.memset(block, 1, size)
        libc.free(block)
    turns[number + 1].set()
    turns[-1].wait()
threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
for thread in threads:
    thread.start()
before = resident()
turns[0].set()
for thread in threads:
    thread.join()
kept = resident() - before
trim()
print(kept // 2**20, (resident() - before) // 2**20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_threads_have_freed_is_used_again_and_given_back() -> None:
    """One thread's freed memory serves the next one, and a trim returns it all."""
    run = subprocess.run([sys.executable, "-c", _HASH_AND_TRIM], capture_output=True, text=True, check=True)
    kept, left = map(int, run.stdout.split())
    assert kept < 20
    assert left < 4


def test_the_trimmer_trims_again_and_again_until_it_is_stopped() -> None:
    """Not after every use, and never while the server stops."""
    clock, trims = ManualClock(), []
    trimmer = Trimmer(clock, lambda: trims.append(clock.now_ms()))
    trimmer.start()
    clock.advance(TRIM_SECONDS * 0.9)
    assert not trims
    for _ in range(3):
        clock.advance(TRIM_SECONDS)
    assert len(trims) == 3
    trimmer.stop()
    clock.advance(TRIM_SECONDS * 2)
    assert len(trims) == 3


def test_the_limit_on_files_is_raised() -> None:
    """0 is all that the system allows; too much is a warning, not an end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        raise_file_limit(100)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (100, hard)
        raise_file_limit(0)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_files_are_refused_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server runs with what it has."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 20))
    monkeypatch.setattr(resource, "setrlimit", _refuse)
    raise_file_limit(30)
    assert "soft_file_limit" in caplog.text


def _refuse(*_arguments: object) -> None:
    raise ValueError("beyond the hard limit")


@pytest.fixture
def heap() -> Iterator[None]:
    """As Python has it at first; afterwards it is as `tests/conftest.py` has settled it."""
    thresholds = gc.get_threshold()
    gc.unfreeze()
    gc.set_threshold(700, 10, 10)
    yield
    gc.freeze()
    gc.set_threshold(*thresholds)


def test_what_is_imported_is_frozen(heap: None) -> None:
    """A whole collection looks through it no more."""
    set_imports_aside()
    assert gc.get_freeze_count() > 10_000


def test_the_heap_at_the_start_is_frozen(heap: None) -> None:
    """Collections look at what came later only, and seldom."""
    settle_heap()
    assert gc.get_threshold() == GC_THRESHOLDS
    assert gc.get_freeze_count() > 10_000
