"""Several things at the same time, until the last of them is over."""

from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList

T = TypeVar("T")


async def all_at_once(parts: Iterable[Coroutine[Deferred[Any], Any, T]]) -> list[T]:
    """Their results, in order; else what the first of those that failed raised, when none goes on any more."""
    every = list(parts)
    if len(every) == 1:
        return [await every[0]]
    outcomes: list[tuple[bool, Any]] = await DeferredList(
        [Deferred.fromCoroutine(one) for one in every], consumeErrors=True
    )
    for succeeded, result in outcomes:
        if not succeeded:
            result.raiseException()
    return [result for _, result in outcomes]
