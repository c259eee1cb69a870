"""Timers by a clock that nobody can set."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.selectreactor import SelectReactor

from synapse_lite.replication.bus import LocalBus
from synapse_lite.workers import process
from synapse_lite.workers.pid_file import PidFile
from synapse_lite.workers.timers import use_monotonic_time


def test_timers_do_not_follow_the_wall_clock() -> None:
    """A timer is due by the monotonic clock, both when it is set and when the reactor looks what is due."""
    reactor: Any = SelectReactor()
    use_monotonic_time(reactor)
    fired: list[float] = []
    before = time.monotonic()
    timer = reactor.callLater(0, lambda: fired.append(time.monotonic()))
    assert before <= timer.getTime() <= time.monotonic()
    reactor.runUntilCurrent()
    assert len(fired) == 1
    later = reactor.callLater(3600, fired.append, 0.0)
    assert 3000 < reactor.timeout() <= 3600
    later.cancel()


def test_a_process_uses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""

    class Reactor:
        seconds = time.time

        def callWhenRunning(self, _function: object) -> None:  # noqa: N802 (Twisted's name)
            assert self.seconds is time.monotonic

        def addSystemEventTrigger(self, *_arguments: object) -> None: ...  # noqa: N802 (Twisted's name)

        def run(self) -> None: ...

    reactor, nothing = Reactor(), SimpleNamespace(requests=None, clock=None, bus=LocalBus())
    homeserver: Any = SimpleNamespace(core=nothing)
    assert process.ProcessRun(reactor, homeserver, "main", PidFile(None)).run() == 0
    assert reactor.seconds is time.monotonic
