"""Ends the children of a supervisor that was killed with SIGKILL and could not do it itself.

The guardian leads a process group that every child joins, and reads a pipe whose other end only the
supervisor has. When the pipe closes without a farewell, the guardian kills its group. Nothing can be
missed or hit by mistake: the kernel closes the pipe however the supervisor ends, and a group's number
is not given to others while its leader lives. `preexec_fn` (unsafe with threads) is not needed, and
unlike PR_SET_PDEATHSIG this also works for PostgreSQL, which runs as another user in a session of its
own: a command line given to the guardian stops it.

Run as `python -m synapse_lite.workers.guardian [COMMAND ...]`.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

_FAREWELL = b"farewell"
_PATIENCE = 5.0


class Guardian:
    """The supervisor's side."""

    def __init__(self, last_command: Sequence[str] = ()) -> None:
        self._command = (sys.executable, "-m", __spec__.name, *last_command)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def group(self) -> int:
        """The process group for the children (`process_group` of `subprocess.Popen`)."""
        if self._process is None:
            raise RuntimeError("the guardian has not been started")
        return self._process.pid

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, process_group=0)  # noqa: S603 (our own module)

    def stop(self) -> None:
        """Say farewell: all children have ended."""
        if self._process is not None:
            try:
                self._process.communicate(_FAREWELL, timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def watch(last_command: Sequence[str]) -> None:
    """Wait for the supervisor's end; unless it said farewell, run the command and kill the group."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == _FAREWELL:
        return
    if last_command:
        subprocess.Popen(last_command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 (given by the supervisor)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    watch(sys.argv[1:])
