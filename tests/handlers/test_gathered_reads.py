"""Look-ups of the same moment go into one statement."""

from collections.abc import Collection

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers.gathered_reads import GatheredReads


class Database:
    """Runs what it is given when the test says so."""

    def __init__(self) -> None:
        self.readings: list[list[str]] = []
        self.turn: Deferred[None] = Deferred()

    async def read(self, function, keys):
        self.readings.append(sorted(keys))
        await self.turn
        return function(None, keys)

    def go_on(self, error: Exception | None = None) -> None:
        turn, self.turn = self.turn, Deferred()
        if error is None:
            turn.callback(None)
        else:
            turn.errback(error)


def lengths(_txn: object, keys: Collection[str]) -> dict[str, int]:
    return {key: len(key) for key in keys if key != "absent"}


def of(reads: GatheredReads[str, int], key: str) -> "Deferred[int | None]":
    return Deferred.fromCoroutine(reads.of(key))


@ensureDeferred
async def test_one_statement_for_many() -> None:
    """Who comes while one statement runs shares the next, which begins after they asked."""
    database = Database()
    reads: GatheredReads[str, int] = GatheredReads(database, lengths)
    first = of(reads, "a")
    others = [of(reads, key) for key in ("a", "bb", "bb", "absent")]
    assert database.readings == [["a"]]
    database.go_on()
    assert await first == 1
    assert database.readings == [["a"], ["a", "absent", "bb"]]
    database.go_on()
    assert await gatherResults(others) == [1, 2, 2, None]


@ensureDeferred
async def test_a_failure_is_told_to_all() -> None:
    """Those of the statement that failed hear of it; the next ones are read."""
    database = Database()
    reads: GatheredReads[str, int] = GatheredReads(database, lengths)
    failing, gone, next_one = of(reads, "a"), of(reads, "a"), of(reads, "bb")
    gone.addErrback(lambda _: None)
    gone.cancel()
    database.go_on(ValueError("away"))
    with pytest.raises(ValueError, match="away"):
        await failing
    database.go_on()
    assert await next_one == 2
