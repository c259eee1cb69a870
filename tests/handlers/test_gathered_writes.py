"""What several requests write at the same moment."""

from collections.abc import Mapping

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.handlers.gathered_writes import MAX_KEYS, GatheredWrites


class Store:
    """Holds each writing until the test lets it go."""

    def __init__(self) -> None:
        self.writings: list[dict[str, int]] = []
        self.held: list[Deferred[None]] = []

    async def write(self, values: Mapping[str, int]) -> None:
        self.writings.append(dict(values))
        held: Deferred[None] = Deferred()
        self.held.append(held)
        await held
        if -1 in values.values():
            raise ValueError("no negative numbers")

    def let_go(self) -> None:
        self.held.pop(0).callback(None)


def put(writes: GatheredWrites[str, int], key: str, value: int) -> "Deferred[None]":
    return Deferred.fromCoroutine(writes.put(key, value))


@ensureDeferred
async def test_what_comes_meanwhile_goes_together() -> None:
    """The first is written at once; the others, of each key the last, when that is done. Each is told when it is written."""
    store = Store()
    writes = GatheredWrites(store.write)
    first = put(writes, "a", 1)
    others = [put(writes, "a", 2), put(writes, "b", 3), put(writes, "a", 4)]
    store.let_go()
    await first
    assert not any(one.called for one in others)
    store.let_go()
    for one in others:
        await one
    assert store.writings == [{"a": 1}, {"b": 3, "a": 4}]


@ensureDeferred
async def test_a_fault_is_heard_by_whose_it_is() -> None:
    """A writing that fails is done again one by one, and goes on after it."""
    store = Store()
    writes = GatheredWrites(store.write)
    first, bad, good = put(writes, "a", 1), put(writes, "b", -1), put(writes, "c", 3)
    for _ in range(4):
        store.let_go()
    await first
    await good
    with pytest.raises(ValueError, match="negative"):
        await bad
    assert store.writings == [{"a": 1}, {"b": -1, "c": 3}, {"b": -1}, {"c": 3}]
    again = put(writes, "b", 5)
    store.let_go()
    await again


@ensureDeferred
async def test_who_goes_away() -> None:
    """Whose request ended is not waited for, and stops nobody else; a writing has a limit."""
    store = Store()
    writes = GatheredWrites(store.write)
    first = put(writes, "a", 0)
    others = [put(writes, f"{number}", number) for number in range(MAX_KEYS + 1)]
    first.cancel()
    others[0].cancel()
    for _ in range(3):
        store.let_go()
    for one in others[1:]:
        await one
    assert [len(values) for values in store.writings] == [1, MAX_KEYS, 1]
    for one in (first, others[0]):
        with pytest.raises(CancelledError):
            await one
