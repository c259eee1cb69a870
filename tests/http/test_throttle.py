"""Turns of callers."""

from collections.abc import Callable, Iterator

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from synapse_lite.config.rate_limits import FederationLimits
from synapse_lite.errors import MatrixError
from synapse_lite.http.throttle import Throttle
from tests.http.memory import ManualClock

BuildHouse = Callable[..., "House"]


class House:
    """Requests of callers, each under way until it is ended. `served`: the names of those that have their turn, in order."""

    def __init__(self, **limits: int) -> None:
        self.clock = ManualClock()
        self.throttle = Throttle(self.clock, FederationLimits(**limits))
        self.served: list[str] = []
        self._ends: dict[str, Deferred[None]] = {}
        self._asked: list[Deferred[None]] = []

    def ask(self, request: str, caller: str = "a") -> Deferred[None]:
        asked = Deferred.fromCoroutine(self._serve(request, caller))
        self._asked.append(asked)
        return asked

    def end(self, request: str) -> None:
        self._ends.pop(request).callback(None)

    def close(self) -> None:
        """End what is under way: else the garbage collector would, in whatever test it comes to it."""
        for asked in reversed(self._asked):
            asked.addErrback(lambda _: None)
            asked.cancel()

    async def _serve(self, request: str, caller: str) -> None:
        async with self.throttle.turn(caller):
            self.served.append(request)
            self._ends[request] = Deferred()
            await self._ends[request]


@pytest.fixture
def build_house() -> Iterator[BuildHouse]:
    houses: list[House] = []

    def build(**limits: int) -> House:
        houses.append(House(**limits))
        return houses[-1]

    yield build
    for house in houses:
        house.close()


def refusal(asked: Deferred[None]) -> MatrixError:
    caught: list[Failure] = []
    asked.addErrback(caught.append)
    (failure,) = caught
    assert isinstance(failure.value, MatrixError)
    return failure.value


def test_so_many_at_once(build_house: BuildHouse) -> None:
    """Those that are too many wait, in order; what ends, also badly, makes place. Callers do not wait for each other."""
    house = build_house(concurrent=2)
    first, _second, third, _fourth = (house.ask(name) for name in "1234")
    assert house.served == ["1", "2"]
    house.ask("other", "b")
    assert house.served == ["1", "2", "other"]
    third.addErrback(lambda failure: failure.trap(CancelledError))
    third.cancel()
    first.addErrback(lambda failure: failure.trap(CancelledError))
    first.cancel()
    assert house.served == ["1", "2", "other", "4"]


def test_a_delay_beyond_the_limit_of_the_window(build_house: BuildHouse) -> None:
    """Each that comes too early waits for the delay; when the window is over the next does not."""
    house = build_house(sleep_limit=2, window_size=1000, sleep_delay=400, concurrent=10)
    for name in "123":
        house.ask(name)
    assert house.served == ["1", "2"]
    house.clock.advance(0.4)
    assert house.served == ["1", "2", "3"]
    house.ask("4")
    assert house.served == ["1", "2", "3"]
    house.clock.advance(0.4)
    house.clock.advance(0.6)
    house.ask("5")
    assert house.served == ["1", "2", "3", "4", "5"]


def test_what_is_refused(build_house: BuildHouse) -> None:
    """More at once than may be under way, those that wait included: 429, with the time after which to come again."""
    house = build_house(sleep_limit=1, window_size=2000, concurrent=1, reject_limit=3)
    for name in "123":
        house.ask(name)
    refused = refusal(house.ask("4"))
    assert (refused.status, refused.errcode, refused.extra) == (
        429,
        "M_LIMIT_EXCEEDED",
        {"retry_after_ms": 2000},
    )
    house.ask("other", "b")
    house.end("1")
    house.clock.advance(0.5)
    house.ask("5")
    house.end("2")
    assert house.served == ["1", "other", "2", "3"]


@pytest.mark.parametrize("sleep_limit", [0, 10])
@ensureDeferred
async def test_callers_are_forgotten(build_house: BuildHouse, sleep_limit: int) -> None:
    """However many names come, only those are known that were there of late."""
    house = build_house(sleep_limit=sleep_limit, sleep_delay=0, window_size=1000)
    for number in range(100):
        house.clock.advance(0.5)
        async with house.throttle.turn(f"s{number}"):
            pass
    assert len(house.throttle) <= 4


def test_who_is_served_is_not_forgotten(build_house: BuildHouse) -> None:
    """Its requests count, however long they take."""
    house = build_house(concurrent=1)
    house.ask("1")
    for number in range(10):
        house.clock.advance(60)
        house.ask(f"of {number}", f"s{number}")
    house.ask("2")
    assert "2" not in house.served
