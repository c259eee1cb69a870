"""Numbered migrations, each applied once, by whichever process comes first.

A file `schema/NNNN_name.sql` runs in a transaction of its own. One whose first line is `OUTSIDE` holds statements
that cannot, such as CREATE INDEX CONCURRENTLY: they run one after the other, and from the start again when
something interrupts them. Only expanding changes may ship together with code: what a migration removes must be
unused by the release before it, so that old and new processes run side by side.
"""

import hashlib
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib import resources
from importlib.resources.abc import Traversable

from psycopg2 import extensions

from synapse_lite.errors import SynapseLiteError
from synapse_lite.storage.pool import connect

logger = logging.getLogger(__name__)

OUTSIDE = "-- outside of a transaction"
FROZEN = "frozen.sha256"
"""Names the migrations of releases: a database may have them, so they change no more (`sha256sum` format)."""

_LOCK = 0x5359_4C49  # any number that nothing else on the database uses
_LOCK_PATIENCE_SECONDS = 600.0  # somebody else's index may take long
_LOCK_POLL_SECONDS = 0.1


class SchemaTooNewError(SynapseLiteError):
    """A newer program has changed the schema in a way that this one does not know."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(
            f"the database has migrations that this program does not know: {', '.join(names)}. Start the newer "
            "program that made them, or go back to a backup from before"
        )


class ForeignTablesError(SynapseLiteError):
    """The database is another program's, mostly Synapse's."""

    def __init__(self, tables: list[str]) -> None:
        super().__init__(f"database: {describe_foreign_tables(tables)}: {EMPTY_DATABASE}")


EMPTY_DATABASE = (
    "give this server an empty one of its own; what a Synapse's database holds is not taken over, nor changed"
)

FOREIGN_TABLES = """
SELECT relname FROM pg_class JOIN pg_namespace AS schema ON schema.oid = relnamespace
WHERE nspname = current_schema() AND relkind IN ('r', 'p') AND relname <> 'schema_migrations'
    AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'
    )
ORDER BY relname
"""
"""Names of tables that no extension owns; in a database without a migration of ours they are another program's."""


def describe_foreign_tables(tables: Sequence[str]) -> str:
    owner = "Synapse" if "applied_schema_deltas" in tables else "another program"
    return f"it has {len(tables)} tables of {owner}, such as {tables[0]}"


def migrate(arguments: Mapping[str, object]) -> list[str]:
    """Bring the schema up to date; the names of the migrations applied. Blocks: call before the reactor runs.

    Raises `SchemaTooNewError`, `ForeignTablesError`.
    """
    with closing(connect(arguments)) as connection:
        connection.autocommit = True
        with _lock(connection), connection.cursor() as cursor:
            done = _applied(cursor)
            known = available()
            if unknown := sorted(done - set(known)):
                raise SchemaTooNewError(unknown)
            missing = [name for name in known if name not in done]
            for name in missing:
                logger.info("migration %s", name)
                apply(cursor, name, _text(name))
            return missing


def _applied(cursor: extensions.cursor) -> set[str]:
    """The names of those that the database has."""
    cursor.execute("SELECT to_regclass('schema_migrations')")
    if cursor.fetchone() == (None,):
        cursor.execute(FOREIGN_TABLES)
        if foreign := [name for (name,) in cursor.fetchall()]:
            raise ForeignTablesError(foreign)
        cursor.execute(
            "CREATE TABLE schema_migrations ("
            " name TEXT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())"
        )
    cursor.execute("SELECT name FROM schema_migrations")
    return {name for (name,) in cursor.fetchall()}


def apply(cursor: extensions.cursor, name: str, text: str) -> None:
    """Run one migration and note it; the connection is in autocommit mode."""
    note = cursor.mogrify("INSERT INTO schema_migrations (name) VALUES (%s)", (name,)).decode()
    if not text.startswith(OUTSIDE):
        cursor.execute(f"BEGIN; {text}; {note}; COMMIT")
        return
    for index in _unfinished_indexes(cursor):
        if re.search(rf"\b{re.escape(index)}\b", text):
            cursor.execute(f"DROP INDEX CONCURRENTLY {index}")
    for statement in (*text.split(";\n"), note):
        if any(line.strip() and not line.startswith("--") for line in statement.splitlines()):
            cursor.execute(statement)


def available() -> list[str]:
    """The names of all migrations, in order."""
    return sorted(file.name for file in _schema().iterdir() if file.name.endswith(".sql"))


def changed_since_frozen(directory: Traversable) -> list[str]:
    """Names of migrations that are frozen, and are not as they were."""
    lines = [line.split() for line in directory.joinpath(FROZEN).read_text("utf-8").splitlines()]
    return [name for digest, name in lines if digest != checksum(directory.joinpath(name))]


def checksum(file: Traversable) -> str | None:
    """SHA-256, or None for a file that is not there."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


@contextmanager
def _lock(connection: extensions.connection) -> Iterator[None]:
    """One migrator at a time. Who waits for it asks again and again: a CREATE INDEX CONCURRENTLY waits for every
    statement that was there before it, so also for one that waits for a lock.
    """
    deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,))
            if cursor.fetchone() == (True,):
                break
            if time.monotonic() > deadline:
                raise SynapseLiteError("another process does not finish its migrations")
            time.sleep(_LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            if not connection.closed:
                cursor.execute("ROLLBACK; SELECT pg_advisory_unlock(%s)", (_LOCK,))


def _unfinished_indexes(cursor: extensions.cursor) -> list[str]:
    cursor.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
    return [name for (name,) in cursor.fetchall()]


def _schema() -> Traversable:
    return resources.files(__package__).joinpath("schema")


def _text(name: str) -> str:
    return _schema().joinpath(name).read_text("utf-8")
