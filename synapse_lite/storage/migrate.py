"""Numbered migrations, each applied once, by whichever process comes first.

A file `schema/NNNN_name.sql` runs in one transaction. Only expanding changes may ship together with
code: what a migration removes must be unused by the release before it, so that old and new processes
run side by side.
"""

import logging
from collections.abc import Mapping
from importlib import resources

from synapse_lite.storage.database import connect

logger = logging.getLogger(__name__)

_LOCK = 0x5359_4C49  # any number that nothing else on the database uses


def migrate(arguments: Mapping[str, object]) -> list[str]:
    """Bring the schema up to date; the names of the migrations applied. Blocks: call before the reactor runs."""
    connection = connect(arguments)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS schema_migrations ("
                " name TEXT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())"
            )
            cursor.execute("SELECT name FROM schema_migrations")
            done = {name for (name,) in cursor.fetchall()}
            applied = [name for name in available() if name not in done]
            for name in applied:
                logger.info("migration %s", name)
                cursor.execute(_text(name))
                cursor.execute("INSERT INTO schema_migrations (name) VALUES (%s)", (name,))
        return applied
    finally:
        connection.close()


def available() -> list[str]:
    """The names of all migrations, in order."""
    return sorted(
        file.name
        for file in resources.files(__package__).joinpath("schema").iterdir()
        if file.name.endswith(".sql")
    )


def _text(name: str) -> str:
    return resources.files(__package__).joinpath("schema", name).read_text("utf-8")
