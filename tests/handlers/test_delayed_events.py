"""The clock of delayed events, without a database."""

from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.handlers.delayed_events import RESTART, DelayedEvents
from synapse_lite.storage import delayed_events as store
from tests.http.memory import ManualClock
from tests.http.routes import some_turns

DELAY_MS = 100


class Rows:
    """Nothing is due; what comes next is told when the test says so."""

    def __init__(self) -> None:
        self.looks = 0
        self.next_due: Deferred[None] = Deferred()

    async def read(self, what: Any, *_arguments: Any) -> Any:
        if what is store.due:
            self.looks += 1
            return []
        return await self.next_due

    async def transact(self, *_arguments: Any) -> int:
        return DELAY_MS


class NoLimit:
    async def check(self, _key: object) -> None:
        pass


@ensureDeferred
async def test_what_is_asked_for_during_a_look_is_not_late() -> None:
    """The look has not seen it any more: the next one comes when it is due."""
    rows, clock = Rows(), ManualClock()
    events = DelayedEvents(rows, None, None, clock, NoLimit(), longest_ms=10_000)
    events.start()
    await some_turns()
    assert rows.looks == 1
    await events.update("some", RESTART, "192.0.2.1")
    rows.next_due.callback(None)
    clock.advance(DELAY_MS / 1000)
    assert rows.looks == 2
    events.stop()
