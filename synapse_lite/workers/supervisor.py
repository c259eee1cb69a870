"""Keeps a set of programs running until it is asked to stop.

The supervisor is one thread that takes what happened from a queue: a child ended, a signal came. A
child that ends before everything was ready once stops the whole start; later it is started again,
after a pause that doubles with every failure and starts anew after a minute of good health.
"""

import queue
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import attrs

from synapse_lite.clock import doubling_pause
from synapse_lite.errors import SynapseLiteError
from synapse_lite.workers.children import Exited, Program, WriteLine, spawn

NAME = "up"
_PROBE_INTERVAL = 0.1
_AFTER_KILL = 5.0
_ONE_REQUEST = 1.0
"""Seconds: a signal to a process group comes twice, the second time from a parent such as make, which passes it on."""

Probe = Callable[[str], bool]
"""Whether a URL answers 200 now. May block for a second."""


class StartError(SynapseLiteError):
    """A program did not become ready."""


@attrs.frozen
class StopAsked:
    """A signal asked for the end. `at`: when, in seconds of the monotonic clock."""

    signal_name: str
    at: float


Event = Exited | StopAsked


@attrs.frozen
class Timing:
    """Seconds."""

    start_timeout: float = 180.0
    first_pause: float = 0.5
    longest_pause: float = 30.0
    good_health: float = 60.0
    grace: float = 30.0

    def pause(self, failures: int) -> float:
        """How long to wait before a start, after so many failures in a row (at least one)."""
        return doubling_pause(self.first_pause, failures - 1, self.longest_pause)


@attrs.define
class _State:
    """One program, and what became of it."""

    program: Program
    process: subprocess.Popen[str] | None = None
    started_at: float = 0.0
    failures: int = 0
    due_at: float | None = None
    healthy: bool = False


class Supervisor:
    """`StopAsked` among the `events` ends it; another request kills what still runs. A SimpleQueue is safe in signal handlers."""

    def __init__(
        self,
        programs: Sequence[Program],
        events: "queue.SimpleQueue[Event]",
        *,
        group: int,
        probe: Probe,
        write_line: WriteLine,
        timing: Timing,
    ) -> None:
        self._states = {program.name: _State(program) for program in programs}
        self._group = group
        self._probe = probe
        self._write_line = write_line
        self._timing = timing
        self._events = events
        self._asked: StopAsked | None = None

    def run(self, on_ready: Callable[[Mapping[str, int]], None]) -> None:
        """Start everything, call `on_ready` with the process ids, watch until asked to stop, and stop everything.

        Raises StartError, and what `on_ready` raises; nothing is left running then, either.
        """
        try:
            if self._start_all():
                on_ready(self.pids())
                self._watch()
        finally:
            self._stop_all()

    def pids(self) -> dict[str, int]:
        return {name: state.process.pid for name, state in self._states.items() if state.process}

    def _start_all(self) -> bool:
        """False when asked to stop meanwhile."""
        deadline = time.monotonic() + self._timing.start_timeout
        for state in self._states.values():
            self._start(state)
        while waiting := [state for state in self._states.values() if not state.healthy]:
            match self._next_event(_PROBE_INTERVAL):
                case StopAsked() as asked:
                    self._asked = asked
                    self._say(f"{asked.signal_name} during the start")
                    return False
                case Exited() as exited:
                    self._states[exited.name].process = None
                    raise StartError(f"{exited} before it was ready")
                case None:
                    for state in waiting:
                        state.healthy = self._probe(state.program.health_url)
            late = [state.program.name for state in waiting if not state.healthy]
            if late and time.monotonic() > deadline:
                raise StartError(f"not ready after {self._timing.start_timeout:.0f} s: {', '.join(late)}")
        return True

    def _watch(self) -> None:
        while True:
            match self._next_event(self._until_next_start()):
                case StopAsked() as asked:
                    self._asked = asked
                    self._say(f"stopping: {asked.signal_name}")
                    return
                case Exited() as exited:
                    self._plan_restart(exited)
                case None:
                    self._start_due()

    def _start(self, state: _State) -> None:
        state.due_at = None
        state.started_at = time.monotonic()
        state.process = spawn(
            state.program, group=self._group, write_line=self._write_line, on_exit=self._events.put
        )
        self._say(f"started {state.program.name} (pid {state.process.pid})")

    def _plan_restart(self, exited: Exited) -> None:
        state = self._states[exited.name]
        state.process = None
        now = time.monotonic()
        lived = now - state.started_at
        state.failures = 1 if lived >= self._timing.good_health else state.failures + 1
        pause = self._timing.pause(state.failures)
        state.due_at = now + pause
        self._say(f"{exited}; starting it again in {pause:.1f} s")

    def _until_next_start(self) -> float | None:
        due = [state.due_at for state in self._states.values() if state.due_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _start_due(self) -> None:
        now = time.monotonic()
        for state in self._states.values():
            if state.due_at is not None and state.due_at <= now:
                self._start(state)

    def _stop_all(self) -> None:
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + self._timing.grace
        killed = False
        while running := sorted(self.pids()):
            match self._next_event(max(0.0, deadline - time.monotonic())):
                case Exited() as exited:
                    self._states[exited.name].process = None
                case StopAsked() as again if self._asked and again.at < self._asked.at + _ONE_REQUEST:
                    pass
                case StopAsked() | None if not killed:
                    self._say(f"killing {', '.join(running)}")
                    self._signal_all(signal.SIGKILL)
                    deadline = time.monotonic() + _AFTER_KILL
                    killed = True
                case None:
                    raise SynapseLiteError(f"could not be killed: {', '.join(running)}")

    def _signal_all(self, number: signal.Signals) -> None:
        for state in self._states.values():
            if state.process:
                state.process.send_signal(number)

    def _next_event(self, timeout: float | None) -> Event | None:
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def _say(self, text: str) -> None:
        self._write_line(NAME, text)


@contextmanager
def stop_signals(put: Callable[[StopAsked], None]) -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into events for a while."""

    def handle(number: int, _frame: object) -> None:
        put(StopAsked(signal.Signals(number).name, time.monotonic()))

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
