"""A PostgreSQL of the chaos's own, that may be stopped and may crash."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from synapse_lite.workers.embedded_postgres import EmbeddedPostgres
from tests.processes.harness import is_running, wait_until


class FallibleDatabase:
    """In a directory that is not there yet."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server = EmbeddedPostgres(directory)
        self._arguments: dict[str, Any] = {}

    @property
    def stop_command(self) -> tuple[str, ...]:
        """For a guardian."""
        return (sys.executable, "-m", "synapse_lite.workers.embedded_postgres", str(self._directory))

    def start(self) -> dict[str, Any]:
        """Arguments of `psycopg2.connect`."""
        self._arguments = self._server.start()
        return self._arguments

    def restart(self, crash: bool) -> None:
        """A crash: nobody gets to finish anything, and what was committed is recovered from the log."""
        if crash:
            pid = int((self._directory / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, signal.SIGQUIT)
            wait_until(lambda: not is_running(pid), "the end of PostgreSQL")
        else:
            self._server.stop()
        assert self._server.start() == self._arguments, "PostgreSQL came back elsewhere"

    def stop(self) -> None:
        self._server.stop()
