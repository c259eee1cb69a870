"""A task on a core of its own: what others notice of it then is not that it computes."""

import os
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg2

from benchmarks.client import MissingFeatureError
from benchmarks.server import Server

# In a step a connection has the name of its task, and else that of its process.
_BACKENDS = (
    "SELECT pid, application_name LIKE 'task %%' OR split_part(application_name, '_', 1) = ANY(%s)"
    " FROM pg_stat_activity"
)


@contextmanager
def apart(server: Server) -> Iterator[None]:
    """The usual workers and their database connections run on one core, all else on another.

    Connections made meanwhile belong to the workers: the others have theirs. Raises `MissingFeatureError`
    where there are no two cores.
    """
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        raise MissingFeatureError
    others, own, *_ = sorted(cores)
    _place(server, {own}, {others})
    try:
        yield
    finally:
        _place(server, cores, cores)


def _place(server: Server, own: Collection[int], others: Collection[int]) -> None:
    with (
        closing(psycopg2.connect(**server.connection_arguments())) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(_BACKENDS, (list(server.usual),))
        backends: dict[int, bool] = dict(cursor.fetchall())
        postmaster = _parent(connection.info.backend_pid)
    of_workers = {
        postmaster,
        *server.worker_pids(),
        *(pid for pid, is_theirs in backends.items() if is_theirs),
    }
    for pid in {os.getpid(), postmaster, *server.pids(), *backends}:
        _pin(pid, own if pid in of_workers else others)


def _pin(pid: int, cores: Collection[int]) -> None:
    with suppress(FileNotFoundError, ProcessLookupError):  # it may have ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
