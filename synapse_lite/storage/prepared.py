"""Statements that each connection plans once."""

from typing import Any, Self

from psycopg2 import extensions


class Connection(extensions.connection):
    """Remembers what it has prepared."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared: set[str] = set()


class Prepared(str):  # noqa: SLOT000 (of which there are as many as names)
    """SQL with `%s` for its values, for `Transaction.rows` and the like; `name` is its own.

    For statements that take longer to plan than to run, and whose best plan does not depend on the values. That
    plan stays until a table is analyzed: to be kept to indexes (`storage.planner`) where it reads more than by keys.
    """

    name: str
    _call: str

    def __new__(cls, name: str, sql: str) -> Self:
        self = super().__new__(cls, sql)
        self.name = name
        self._call = f"EXECUTE {name} ({', '.join(['%s'] * sql.count('%s'))})"
        return self

    def on(self, cursor: extensions.cursor) -> str:
        """The statement to send: on a connection that somebody else opened it is the SQL itself."""
        connection = cursor.connection
        if not isinstance(connection, Connection):
            return str(self)
        if self.name not in connection.prepared:
            cursor.execute(f"PREPARE {self.name} AS {self._numbered()}")
            connection.prepared.add(self.name)
        return self._call

    def _numbered(self) -> str:
        first, *rest = self.split("%s")
        return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))
