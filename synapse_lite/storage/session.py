"""Connections outside the pool: one for a thread of its own, and one that listens."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Concatenate, ParamSpec, TypeVar

from psycopg2.extensions import connection as Connection  # noqa: N812 (a class, whatever its case)

from synapse_lite.storage.database import DatabaseError, Transaction
from synapse_lite.storage.outage import DatabaseUnavailableError
from synapse_lite.storage.pool import connect

P = ParamSpec("P")
R = TypeVar("R")


class Session:
    """One connection for one thread: opened when first used, and again after an error."""

    def __init__(self, arguments: Mapping[str, object], settings: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._options = " ".join(f"-c {key}={value}" for key, value in settings.items())
        self._connection: Connection | None = None

    def transact(
        self, function: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        return self._run(False, function, args, kwargs)

    def read(
        self, function: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Each statement is on its own."""
        return self._run(True, function, args, kwargs)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(
        self,
        autocommit: bool,
        function: Callable[..., R],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> R:
        if self._connection is None:
            self._connection = connect(self._arguments, self._options)
        try:
            self._connection.autocommit = autocommit
            # psycopg2's `with` of a connection begins a transaction, also in autocommit mode.
            with nullcontext() if autocommit else self._connection, self._connection.cursor() as cursor:
                txn = Transaction(cursor)
                result = function(txn, *args, **kwargs)
                txn.finish()
                return result
        except DatabaseError as error:
            lost = bool(self._connection.closed)
            self.close()
            if lost:
                raise DatabaseUnavailableError(str(error)) from error
            raise


class Listener:
    """A connection that receives the notifications of a channel. Raises `DatabaseError` when it breaks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # libpq closes its own descriptor when the server hangs up: too early for a reactor that watches it.
        self._descriptor = os.dup(connection.fileno())

    @classmethod
    def open(cls, arguments: Mapping[str, object], channel: str) -> "Listener":
        """Blocks until the server listens."""
        connection = connect(arguments, f"-c application_name={channel}_listener")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'LISTEN "{channel}"')
        return cls(connection)

    def fileno(self) -> int:
        """Valid until `close`, also when the connection is broken."""
        return self._descriptor

    def receive(self) -> list[str]:
        """The payloads that have arrived; does not block."""
        self._connection.poll()
        payloads = [notification.payload for notification in self._connection.notifies]
        self._connection.notifies.clear()
        return payloads

    def close(self) -> None:
        self._connection.close()
        os.close(self._descriptor)


def notify(txn: Transaction, channel: str, payloads: Iterable[str]) -> None:
    """Never in a transaction that writes: the commit of a NOTIFY takes a lock of the whole server."""
    txn.execute("SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload", (channel, list(payloads)))
