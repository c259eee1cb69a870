"""What a server does to its database and to memory while something else is timed."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import attrs
import psycopg2

from benchmarks.server import Server

EVERY_S = 0.5  # looking costs whoever sends meanwhile; a transaction that lasts longer is seen
# A backend that is idle but wakes for a notification shows the time of its last statement.
_OLDEST = (
    "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    " AND state <> 'idle'"
)


@attrs.define
class Watch:
    """The oldest transaction seen (seconds), and the memory of all processes: at first, and at most (MB)."""

    oldest_transaction_s: float = 0.0
    first_mb: float = 0.0
    most_mb: float = 0.0


@contextmanager
def watching(server: Server) -> Iterator[Watch]:
    """Looks again and again, from a thread of its own."""
    now_mb = memory(server)
    watch = Watch(first_mb=now_mb, most_mb=now_mb)
    ended = threading.Event()
    thread = threading.Thread(target=_look, args=(server, watch, ended))
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


def settle(server: Server) -> None:
    """Let the database do at once what it would do some time after so many rows were written."""
    with closing(psycopg2.connect(**server.connection_arguments())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")
            cursor.execute("CHECKPOINT")


def memory(server: Server) -> float:
    return sum(server.memory_mb().values())


def _look(server: Server, watch: Watch, ended: threading.Event) -> None:
    with closing(psycopg2.connect(**server.connection_arguments())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not ended.wait(EVERY_S):
                cursor.execute(_OLDEST)
                watch.oldest_transaction_s = max(watch.oldest_transaction_s, cursor.fetchall()[0][0])
                watch.most_mb = max(watch.most_mb, memory(server))
