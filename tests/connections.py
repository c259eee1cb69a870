"""Connections that outlive a test: opening one, and reading the catalogue anew, costs more than what most tests ask."""

import queue
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress

import psycopg2
from psycopg2 import extensions
from twisted.internet import reactor

from synapse_lite.storage.database import Database

_kept: dict[object, list[extensions.connection]] = defaultdict(list)
"""By their arguments: as good as new, and used by nobody."""


class KeptDatabase(Database):
    """One whose connections go to the next with the same `arguments` when it stops.

    Between the two PostgreSQL forgets the session (settings, prepared statements and plans, locks, LISTEN, temporary
    tables), and so do the connections.
    """

    def __init__(self, arguments: Mapping[str, object], *, name: str = "test", size: int = 4) -> None:
        super().__init__(reactor, arguments, name=name, size=size, settings={})
        self._kept = _kept[_key(arguments)]
        for _ in range(min(size, len(self._kept))):
            connection = self._kept.pop()
            if _renew(connection):  # not if a test has ended all connections
                self._pool._idle.put(connection)

    def stop(self) -> None:
        self._threads.stop()
        with suppress(queue.Empty):
            while True:
                connection = self._pool._idle.get_nowait()
                if _renew(connection):
                    self._kept.append(connection)


def close_kept(arguments: Mapping[str, object]) -> None:
    """Before their database goes."""
    for connection in _kept.pop(_key(arguments), ()):
        connection.close()


def _key(arguments: Mapping[str, object]) -> object:
    return frozenset(arguments.items())


def _renew(connection: extensions.connection) -> bool:
    """Whether it is as good as new; otherwise it is closed."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("DISCARD ALL")
    except psycopg2.Error:
        connection.close()
        return False
    connection.prepared.clear()  # type: ignore[attr-defined]
    return True
