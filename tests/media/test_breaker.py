"""A store that is away is asked only now and then."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synapse_lite.media.breaker import FAILURES, PAUSE_SECONDS, BreakerStore
from synapse_lite.media.directory import DirectoryStore
from synapse_lite.media.store import BlobMissingError, StoreError

SHA = bytes(32)


class Failing(DirectoryStore):
    """Its calls fail while `away`."""

    away = False
    calls = 0

    def open(self, sha256: bytes, start: int = 0) -> Any:
        type(self).calls += 1
        if type(self).away:
            raise StoreError("no answer")
        return super().open(sha256, start)


@pytest.fixture
def store(tmp_path: Path) -> type[Failing]:
    class Mine(Failing):
        pass

    return Mine


def outcome(call: Callable[[], Any]) -> str:
    try:
        call()
    except BlobMissingError:
        return "missing"
    except StoreError as error:
        return str(error)
    return "fine"


def test_it_opens_and_closes(store: type[Failing], tmp_path: Path) -> None:
    """After a few failures nobody asks; one call in a while does, and when it succeeds all do."""
    now = [100.0]
    breaker = BreakerStore(store(tmp_path), lambda: now[0])

    def ask() -> str:
        return outcome(lambda: breaker.open(SHA))

    assert [ask() for _ in range(10)] == 10 * ["missing"]  # which is an answer
    store.away, store.calls = True, 0
    assert [ask() for _ in range(FAILURES - 1)] == (FAILURES - 1) * ["no answer"]
    assert outcome(breaker.check) == "fine"
    assert ask() == "no answer"
    assert [ask() for _ in range(5)] == 5 * ["the media store is away"]
    assert outcome(breaker.check) == "the media store is away"
    assert outcome(lambda: breaker.delete([SHA])) == "the media store is away"
    assert outcome(lambda: list(breaker.walk("00"))) == "the media store is away"
    assert store.calls == FAILURES
    now[0] += PAUSE_SECONDS
    assert [ask() for _ in range(3)] == ["no answer", *2 * ["the media store is away"]]
    assert store.calls == FAILURES + 1
    store.away = False
    assert ask() == "the media store is away"
    now[0] += PAUSE_SECONDS
    assert [ask() for _ in range(3)] == 3 * ["missing"]
    assert outcome(breaker.check) == "fine"


def test_failures_are_counted_in_a_row(store: type[Failing], tmp_path: Path) -> None:
    """A success in between means that the store is there."""
    breaker = BreakerStore(store(tmp_path), lambda: 0.0)
    for _ in range(3 * FAILURES):
        store.away = not store.away
        assert outcome(lambda: breaker.open(SHA)) != "the media store is away"
