"""The supervisor with small programs in place of the server."""

import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
from twisted.internet.task import Clock

from synapse_lite.workers import supervisor
from synapse_lite.workers.children import Program
from synapse_lite.workers.guardian import Guardian
from synapse_lite.workers.supervisor import Event, StartError, StopAsked, Supervisor, Timing, stop_signals
from tests.processes.harness import is_running, wait_until

# Each says that it is ready by making a file, whose path takes the place of the health URL.
OBEDIENT = "import pathlib, signal, sys; pathlib.Path(sys.argv[1]).touch(); print('hello', flush=True); signal.pause()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {OBEDIENT}; signal.pause()"
BROKEN = "import sys; print('no way'); sys.exit(7)"
SLOW = "import signal; signal.pause()"
QUICK = Timing(start_timeout=300, first_pause=0.01, longest_pause=0.1, grace=60)


@pytest.fixture
def guardian() -> Iterator[Guardian]:
    guardian = Guardian()
    guardian.start()
    yield guardian
    guardian.stop()


@attrs.define
class Run:
    """A supervisor in this process, and what it wrote."""

    group: int
    directory: Path
    events: "queue.SimpleQueue[Event]" = attrs.Factory(queue.SimpleQueue)
    lines: list[str] = attrs.Factory(list)
    on_line: Callable[[str], None] = lambda line: None
    on_probe: Callable[[str, bool], None] = lambda path, is_ready: None

    def program(self, name: str, code: str) -> Program:
        ready = str(self.directory / f"{name}.ready")
        return Program(name, (sys.executable, "-c", code, ready), ready)

    def write(self, name: str, line: str) -> None:
        self.lines.append(f"{name}: {line}")
        self.on_line(line)

    def probe(self, path: str) -> bool:
        is_ready = Path(path).exists()
        self.on_probe(path, is_ready)
        return is_ready

    def run(
        self, on_ready: Callable[[Mapping[str, int]], None], timing: Timing = QUICK, **programs: str
    ) -> None:
        Supervisor(
            [self.program(name, code) for name, code in programs.items()],
            self.events,
            group=self.group,
            probe=self.probe,
            write_line=self.write,
            timing=timing,
        ).run(on_ready)

    def stop(self, at: float = 0.0) -> None:
        self.events.put(StopAsked("SIGTERM", at))


@pytest.fixture
def run(guardian: Guardian, tmp_path: Path) -> Run:
    return Run(guardian.group, tmp_path)


def test_everything_runs_when_ready_and_ends_when_asked(run: Run) -> None:
    """`on_ready` gets the process ids of live children, output carries names, and asking ends all of it."""
    seen: dict[str, int] = {}

    def on_ready(pids: Mapping[str, int]) -> None:
        seen.update(pids)
        assert all(is_running(pid) for pid in pids.values())
        wait_until(lambda: {"a: hello", "b: hello"} <= set(run.lines), "the output of both")
        run.stop()

    run.run(on_ready, a=OBEDIENT, b=OBEDIENT)
    assert set(seen) == {"a", "b"}
    assert not any(is_running(pid) for pid in seen.values())


def test_a_child_that_fails_at_first_stops_the_start(run: Run) -> None:
    """StartError names the child and its exit code; its last words are in the log, and nothing is left."""
    with pytest.raises(StartError, match=r"b \(pid \d+\) ended with exit code 7 before it was ready"):
        run.run(lambda _: pytest.fail("ready"), a=OBEDIENT, b=BROKEN)
    assert "b: no way" in run.lines
    assert not _children_of(run)


def test_a_child_that_is_never_ready_stops_the_start(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start has a deadline, which passes here when one of two is ready; the error says who missed it."""
    clock = Clock()
    monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=clock.seconds))

    def pass_the_deadline(path: str, is_ready: bool) -> None:
        if is_ready:
            clock.advance(QUICK.start_timeout + 1)

    run.on_probe = pass_the_deadline
    with pytest.raises(StartError, match=r"not ready after 300 s: b"):
        run.run(lambda _: pytest.fail("ready"), a=OBEDIENT, b=SLOW)
    assert not _children_of(run)


def test_an_error_when_ready_leaves_nothing(run: Run) -> None:
    """What `on_ready` raises comes out, after the children have ended."""

    def on_ready(_: Mapping[str, int]) -> None:
        raise RuntimeError("no admin")

    with pytest.raises(RuntimeError, match="no admin"):
        run.run(on_ready, a=OBEDIENT)
    assert not _children_of(run)


def test_a_killed_child_is_started_again(run: Run) -> None:
    """After SIGKILL another process takes the name; the others keep running."""
    before: dict[str, int] = {}

    def stop_at_third_start(line: str) -> None:
        if sum("started" in each for each in run.lines) == 3 and "started" in line:
            run.stop()

    def on_ready(pids: Mapping[str, int]) -> None:
        before.update(pids)
        run.on_line = stop_at_third_start
        os.kill(pids["a"], signal.SIGKILL)

    run.run(on_ready, a=OBEDIENT, b=OBEDIENT)
    starts = [line for line in run.lines if "started" in line]
    assert starts[2].startswith("up: started a")
    assert starts[2] != starts[0]
    assert any("ended by signal 9; starting it again" in line for line in run.lines)


def test_a_deaf_child_is_killed_after_the_grace_period(run: Run) -> None:
    """A child that ignores SIGTERM does not keep the server from ending."""
    run.run(lambda _: run.stop(), attrs.evolve(QUICK, grace=0.2), a=DEAF, b=OBEDIENT)
    assert "up: killing a" in run.lines
    assert not _children_of(run)


def test_asking_twice_does_not_wait(run: Run) -> None:
    """A second signal kills at once what has not ended."""

    def on_ready(_: Mapping[str, int]) -> None:
        run.stop(at=10.0)
        run.stop(at=11.5)

    run.run(on_ready, attrs.evolve(QUICK, grace=600), a=DEAF)
    assert "up: killing a" in run.lines


def test_one_request_that_comes_twice_is_one(run: Run) -> None:
    """As when `timeout make up` ends: SIGTERM comes to all of the group, and make passes it on. Nothing is killed for it."""

    def on_ready(_: Mapping[str, int]) -> None:
        run.stop(at=10.0)
        run.stop(at=10.1)

    run.run(on_ready, attrs.evolve(QUICK, grace=600), a=OBEDIENT)
    assert not any("killing" in line for line in run.lines)


def test_a_request_to_stop_during_the_start_is_obeyed(run: Run) -> None:
    """`on_ready` is not called then."""
    run.stop()
    run.run(lambda _: pytest.fail("ready"), a=SLOW)
    assert not _children_of(run)


def test_pauses_double_up_to_the_longest() -> None:
    """A child that fails again and again is started less and less often."""
    timing = Timing(first_pause=0.5, longest_pause=30)
    assert [timing.pause(failures) for failures in (1, 2, 3, 7, 10_000)] == [0.5, 1, 2, 30, 30]


@pytest.mark.parametrize(("good_health", "pauses"), [(600.0, ["0.1", "0.2"]), (0.0, ["0.1", "0.1"])])
def test_good_health_forgets_failures(run: Run, good_health: float, pauses: list[str]) -> None:
    """The pause starts anew after a run that was long enough, and only then."""
    timing = attrs.evolve(QUICK, first_pause=0.1, longest_pause=5, good_health=good_health)
    said: list[str] = []

    def kill_twice(line: str) -> None:
        if "starting it again" in line:
            said.append(line.split()[-2])
            if len(said) == 2:
                run.stop()
        elif line.startswith("started"):
            os.kill(int(line.rsplit(maxsplit=1)[-1].rstrip(")")), signal.SIGKILL)

    def on_ready(pids: Mapping[str, int]) -> None:
        run.on_line = kill_twice
        os.kill(pids["a"], signal.SIGKILL)

    run.run(on_ready, timing, a=OBEDIENT)
    assert said == pauses


def test_signals_become_events() -> None:
    """SIGTERM while the handlers are in place asks to stop, and the former handler comes back."""
    before = signal.getsignal(signal.SIGTERM)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    with stop_signals(events.put):
        os.kill(os.getpid(), signal.SIGTERM)
        asked = events.get(timeout=60)
        assert isinstance(asked, StopAsked)
        assert asked.signal_name == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) == before


_ORPHANS = """
import subprocess, sys
from synapse_lite.workers.guardian import Guardian

guardian = Guardian((sys.executable, "-c", "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()", sys.argv[1]))
guardian.start()
child = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[3]], process_group=guardian.group)
print(guardian.group, child.pid, flush=True)
child.wait()
"""


def test_children_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    """After SIGKILL of the parent the guardian kills a child, even a deaf one, and runs the last command."""
    last, ready = tmp_path / "last", tmp_path / "ready"
    command = [sys.executable, "-c", _ORPHANS, str(last), DEAF, str(ready)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        guardian, child = map(int, parent.stdout.readline().split())
        wait_until(ready.exists, "the child")
        parent.kill()
    wait_until(lambda: not is_running(child) and not is_running(guardian), "the end of both")
    wait_until(last.exists, "the last command")


def _children_of(run: Run) -> list[int]:
    """Processes that the run's supervisor said it started and that still run."""
    pids = [int(line.split()[-1].rstrip(")")) for line in run.lines if line.startswith("up: started")]
    assert pids
    return [pid for pid in pids if is_running(pid)]
