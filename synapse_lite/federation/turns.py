"""Long calculations that let others have their turn."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import TypeVar

from twisted.internet.task import Cooperator

S = TypeVar("S")
T = TypeVar("T")

AT_ONCE = 10
"""So few are done without a pause: events take about 0.2 ms each."""
SLICE_SECONDS = 0.001
"""So long are others kept waiting, and whoever shares a slice."""


def _slice() -> Callable[[], bool]:
    """Tells when a slice is over."""
    end = perf_counter() + SLICE_SECONDS
    return lambda: perf_counter() > end


coiterate = Cooperator(_slice).coiterate


async def take_turns(steps: Iterable[None]) -> None:
    """Go through the steps, a slice at a time."""
    await coiterate(iter(steps))


async def map_in_turns(function: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """What the function makes of each item; of many, a slice at a time."""
    if len(items) <= AT_ONCE:
        return [function(item) for item in items]
    results: list[T] = []

    def work() -> Iterator[None]:
        for item in items:
            results.append(function(item))
            yield

    await take_turns(work())
    return results
