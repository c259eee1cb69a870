"""Child processes: start one, pass its output on line by line, and say when it has ended."""

import subprocess
import threading
from collections.abc import Callable
from typing import IO

import attrs

_LAST_WORDS = 1.0  # seconds that the rest of the output may take after the end

WriteLine = Callable[[str, str], None]
"""Called with the name of a process and one line of its output, from any thread."""


@attrs.frozen
class Program:
    """What to run, and where it says that it is ready (a URL that answers 200)."""

    name: str
    command: tuple[str, ...]
    health_url: str


@attrs.frozen
class Exited:
    """A child has ended: an exit code, or the negative number of the signal that killed it."""

    name: str
    pid: int
    status: int

    def __str__(self) -> str:
        how = f"with exit code {self.status}" if self.status >= 0 else f"by signal {-self.status}"
        return f"{self.name} (pid {self.pid}) ended {how}"


def spawn(
    program: Program, *, group: int, write_line: WriteLine, on_exit: Callable[[Exited], None]
) -> subprocess.Popen[str]:
    """Start the program in a process group. `on_exit` is called once, from another thread."""
    process = subprocess.Popen(  # noqa: S603 (the command is ours)
        program.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=group,
        text=True,
        errors="replace",
    )
    reader = threading.Thread(target=_pass_on, args=(process.stdout, program.name, write_line), daemon=True)
    reader.start()

    def wait() -> None:
        status = process.wait()
        reader.join(_LAST_WORDS)
        on_exit(Exited(program.name, process.pid, status))

    threading.Thread(target=wait, daemon=True).start()
    return process


def _pass_on(output: IO[str], name: str, write_line: WriteLine) -> None:
    with output:
        for line in output:
            write_line(name, line.rstrip("\n"))
