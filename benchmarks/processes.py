"""Processes of the servers under test: start, measure, stop by process group."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STOP_LIMIT_S = 30
START_LIMIT_S = 120
# Else our modules, which pip did not compile as it did Synapse's, are compiled anew at each start.
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
POLL_S = 0.01


class Process:
    """A child in a process group of its own, its output in a file."""

    def __init__(self, name: str, command: Sequence[str | Path], directory: Path) -> None:
        self.name = name
        self._command = [str(part) for part in command]
        self._directory = directory
        self._output = directory / f"{name}.out"
        self._child: subprocess.Popen[bytes] | None = None
        self._spent_s = 0.0  # CPU time of earlier runs

    def start(self) -> None:
        with self._output.open("ab") as output:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env={name: value for name, value in os.environ.items() if name != NO_BYTECODE},
                start_new_session=True,
            )

    def start_until(self, ready: Callable[[], bool]) -> float:
        """Start, and wait until it is ready; the seconds that took.

        Raises RuntimeError, with the end of its output, when it exits or takes too long.
        """
        began = time.monotonic()
        self.start()
        while not ready():
            if not self.alive():
                raise RuntimeError(f"{self.name} ended at its start:\n{self.last_words()}")
            if time.monotonic() - began > START_LIMIT_S:
                raise RuntimeError(f"{self.name} not ready after {START_LIMIT_S} s:\n{self.last_words()}")
            time.sleep(POLL_S)
        return time.monotonic() - began

    def stop(self) -> None:
        """Ask; after a while kill; in any case leave nothing of the group behind."""
        if self._child is None:
            return
        if self.alive():
            self._spent_s = self.cpu_seconds()
            self._child.terminate()
        try:
            self._child.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        finally:
            kill_group(self._child.pid)
            self._child = None

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def pid(self) -> int:
        """RuntimeError when it does not run."""
        if self._child is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._child.pid

    def last_words(self, lines: int = 20) -> str:
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-lines:])

    def cpu_seconds(self) -> float:
        """CPU time so far, with that of its descendants and of its runs before a restart."""
        if self._child is None or not self.alive():
            return self._spent_s
        return self._spent_s + cpu_seconds(self._child.pid)

    def memory_mb(self) -> float:
        """Resident memory now; 0 when it does not run."""
        if self._child is None or not self.alive():
            return 0.0
        status = Path(f"/proc/{self._child.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return int(fields["VmRSS"].split()[0]) / 1024


@contextmanager
def busy_process() -> Iterator[None]:
    """A process that only computes, as a measure of what any load costs on this machine."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        try:
            yield
        finally:
            child.kill()


def kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def cpu_seconds(pid: int) -> float:
    """CPU time so far of a local process and its descendants."""
    try:
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
        return 0.0
    own = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(int(child)) for child in children)


def postmaster(socket_directory: str, port: int) -> int:
    """The process of a running PostgreSQL."""
    return int((Path(socket_directory) / f".s.PGSQL.{port}.lock").read_text().split()[0])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
