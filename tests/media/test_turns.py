"""Turns: a few in each turn of the reactor, in their order."""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from synapse_lite.media.turns import Turns


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
