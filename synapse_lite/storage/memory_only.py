"""Storage functions without a database, for as long as they find all that they read in memory."""

from typing import Never, cast

from psycopg2 import extensions

from synapse_lite.storage.database import Transaction


class NotInMemoryError(Exception):
    """A statement would have to be sent."""


class _NoCursor:
    def __getattr__(self, name: str) -> Never:
        raise NotInMemoryError(name)


def memory_only() -> Transaction:
    """Fails with `NotInMemoryError` at the first statement. The reactor may run with it what does not compute for long."""
    return Transaction(cast(extensions.cursor, _NoCursor()), read_only=True)
