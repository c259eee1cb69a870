"""Turns: a few in each turn of the reactor, in their order."""

from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred

from synapse_lite.media.directory import DirectoryStore
from synapse_lite.media.threads import CHUNKS_A_TURN, MediaThreads
from synapse_lite.media.turns import Turns
from tests.media.test_stores import put


class Reactor:
    """What is to be called in the next turn."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def callLater(self, _seconds: float, function: Callable[[], None]) -> None:  # noqa: N802 (Twisted's name)
        self.calls.append(function)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def test_a_few_a_turn() -> None:
    """So many at once pass, the next ones a turn later, and none is forgotten."""
    reactor = Reactor()
    turns = Turns(reactor, 2)
    passed: list[int] = []

    async def go(number: int) -> None:
        await turns.take()
        passed.append(number)

    for number in range(5):
        Deferred.fromCoroutine(go(number))
    assert passed == [0, 1]
    reactor.turn()
    assert passed == [0, 1, 2, 3]
    reactor.turn()
    assert passed == [0, 1, 2, 3, 4]
    reactor.turn()
    assert reactor.calls == []
    Deferred.fromCoroutine(go(5))
    assert passed[-1] == 5


def test_who_gave_up_waiting() -> None:
    """A place that nobody takes any more keeps no other one waiting."""
    reactor = Reactor()
    turns = Turns(reactor, 1)
    Deferred.fromCoroutine(turns.take())
    gone = Deferred.fromCoroutine(turns.take())
    gone.addErrback(lambda _: None)
    last = Deferred.fromCoroutine(turns.take())
    gone.cancel()
    for _ in range(3):
        reactor.turn()
    assert last.called


def test_downloads_that_begin_together(tmp_path: Path) -> None:
    """As many answers begin in one turn as pieces are sent in one."""
    reactor = Reactor()
    store = DirectoryStore(tmp_path / "blobs")
    sha256 = put(store, tmp_path, b"a file")
    threads = MediaThreads(reactor, store, tmp_path / "incoming")
    begun: list[int] = []

    async def begin(number: int) -> None:
        await threads.read(sha256, 0, 1)
        begun.append(number)

    count = 2 * CHUNKS_A_TURN
    for number in range(count):
        Deferred.fromCoroutine(begin(number))
    assert begun == list(range(CHUNKS_A_TURN))
    reactor.turn()
    assert begun == list(range(count))


def test_what_is_heavy() -> None:
    """It passes when anything is left of a turn, and fills it."""
    reactor = Reactor()
    turns = Turns(reactor, 4)
    passed: list[int] = []

    async def go(number: int, weight: int) -> None:
        await turns.take(weight)
        passed.append(number)

    for number, weight in enumerate((1, 4, 4, 1, 3)):
        Deferred.fromCoroutine(go(number, weight))
    assert passed == [0, 1]
    reactor.turn()
    assert passed == [0, 1, 2]
    reactor.turn()
    assert passed == [0, 1, 2, 3, 4]
