"""The file that names a process."""

import os
from pathlib import Path

from synapse_lite.workers.pid_file import PidFile


def test_it_is_there_as_long_as_the_process_is(tmp_path: Path) -> None:
    """Its directory is made; nothing is done without a path."""
    path = tmp_path / "run" / "main.pid"
    file = PidFile(path)
    file.remove()
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()
    assert not path.exists()
    for step in (PidFile(None).write, PidFile(None).remove):
        step()


def test_who_comes_next_keeps_theirs(tmp_path: Path) -> None:
    """Ports are free before all of a process has stopped: its successor may be ready, and has the file."""
    path = tmp_path / "main.pid"
    file = PidFile(path)
    file.write()
    path.write_text("1\n")
    file.remove()
    assert path.read_text() == "1\n"
    path.unlink()
    file.remove()
