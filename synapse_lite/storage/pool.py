"""Connections to PostgreSQL: a single one, and a pool."""

import queue
import time
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock

import psycopg2
from psycopg2 import extensions

from synapse_lite.storage import arrays
from synapse_lite.storage.outage import PATIENCE_SECONDS, DatabaseUnavailableError, Outage
from synapse_lite.storage.prepared import Connection

CONNECT_SECONDS = 5  # for each address of the database's host
_DEFAULTS = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
arrays.register()
_IDLE = extensions.TRANSACTION_STATUS_IDLE
_POLL_SECONDS = 0.1
_GOOD = 0  # libpq's CONNECTION_OK


def connect(arguments: Mapping[str, object], options: str = "") -> extensions.connection:
    """A connection of its own, for what a pool cannot do. Raises `DatabaseUnavailableError`."""
    own_options = f"{arguments.get('options', '')} {options}".strip()
    try:
        return psycopg2.connect(  # type: ignore[call-overload, no-any-return]
            **{**_DEFAULTS, **arguments, "options": own_options}, connection_factory=Connection
        )
    except psycopg2.OperationalError as error:
        raise DatabaseUnavailableError(str(error)) from error


def close_if_broken(connection: extensions.connection, error: Exception) -> bool:
    """Whether the error says that there is nobody at the other end.

    psycopg2 does not close each such connection by itself: an error of its plainest class is one of libpq's own, when
    the end of the connection is met in the midst of an answer.
    """
    if type(error) is psycopg2.DatabaseError or connection.closed or connection.info.status != _GOOD:
        connection.close()
    return bool(connection.closed)


class Pool:
    """Connections in autocommit mode, each used by one thread at a time; its users bound their number.

    A short outage costs time only: see `Outage`, which the pools of a process share.
    """

    def __init__(self, arguments: Mapping[str, object], options: str, outage: Outage) -> None:
        self._arguments = arguments
        self._options = options
        self.outage = outage
        self._idle: queue.LifoQueue[extensions.connection] = queue.LifoQueue()
        self._in_use = 0
        self._lock = Lock()

    def acquire(self, patience: float = PATIENCE_SECONDS) -> extensions.connection:
        """An idle connection, a new one, or the next that is released within `patience` seconds.

        Raises `DatabaseUnavailableError`.
        """
        connection = self._take(patience)
        with self._lock:
            self._in_use += 1
        return connection

    def release(self, connection: extensions.connection) -> None:
        """Roll back what is open, and give the connection to the next. A broken one is dropped."""
        with self._lock:
            self._in_use -= 1
        try:
            if not connection.closed and connection.info.transaction_status != _IDLE:
                with connection.cursor() as cursor:
                    cursor.execute("ROLLBACK")
        except psycopg2.Error:
            connection.close()
        if not connection.closed:
            self._idle.put(connection)

    def is_alive(self) -> bool:
        """Whether the database answers now. Blocks while it does not."""
        try:
            connection = self.acquire(patience=0)
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT")
            finally:
                self.release(connection)
        except psycopg2.Error:
            return False
        return True

    def close_idle(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _take(self, patience: float) -> extensions.connection:
        deadline = time.monotonic() + patience
        while True:
            with suppress(queue.Empty):
                return self._idle.get_nowait()
            left = deadline - time.monotonic()
            if self.outage.may_try():
                try:
                    return self._connect()
                except DatabaseUnavailableError as error:
                    if self._in_use == 0:
                        self.outage.begin(error)
                    elif left <= 0:
                        raise
            if self.outage.is_on and self.outage.seconds_left(patience) <= 0:
                raise DatabaseUnavailableError(self.outage.reason)
            with suppress(queue.Empty):
                return self._idle.get(timeout=_POLL_SECONDS)

    def _connect(self) -> extensions.connection:
        connection = connect(self._arguments, self._options)
        connection.autocommit = True  # BEGIN and COMMIT are ours: they ride with other statements
        self.outage.end()
        return connection
