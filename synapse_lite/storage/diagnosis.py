"""Reads for someone who looks for what is wrong. They work on any PostgreSQL database, also an empty one."""

from collections.abc import Collection
from typing import Literal, get_args

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.migrate import FOREIGN_TABLES

Pool = Literal["requests", "sending", "writing", "tasks"]
"""What a connection of a process is for."""

_LONGEST_NAME = 63  # bytes: PostgreSQL keeps no more of it
OLDEST_MAJOR_VERSION = 14
_BYTE_ORDER = frozenset(("C", "POSIX", "C.UTF-8", "C.utf8"))

_SERVER = """
SELECT current_setting('server_version_num')::int, current_setting('server_version'),
    pg_encoding_to_char(encoding), datcollate, datctype,
    (extract(epoch FROM clock_timestamp()) * 1000)::bigint
FROM pg_database WHERE datname = current_database()
"""

_NAMES = """
SELECT name, max(seen_at) FROM (
    SELECT name, last_seen_at FROM task_actions_seen UNION ALL SELECT name, expires_at FROM task_runners
) AS seen (name, seen_at) GROUP BY name
"""


@frozen
class Unfitness:
    """`problem`: a sentence without a full stop; `remedy`: what to do."""

    problem: str
    remedy: str


@frozen
class DatabaseFacts:
    """`version_number` is such as 160004; `clock_ms` is the server's time when it answered."""

    version_number: int
    version: str
    encoding: str
    collation: str
    character_type: str
    clock_ms: int

    @property
    def major_version(self) -> int:
        return self.version_number // 10_000

    @property
    def unfit(self) -> Unfitness | None:
        """Why the server cannot work with it."""
        if self.major_version < OLDEST_MAJOR_VERSION:
            return Unfitness(
                f"PostgreSQL {self.version} is too old", f"use PostgreSQL {OLDEST_MAJOR_VERSION} or newer"
            )
        if self.encoding != "UTF8":
            return Unfitness(
                f"its encoding is {self.encoding}",
                "make a database with: CREATE DATABASE ... ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0",
            )
        return None

    @property
    def unsafe_locale(self) -> Unfitness | None:
        """What may happen to it one day."""
        if {self.collation, self.character_type} <= _BYTE_ORDER:
            return None
        return Unfitness(
            f"its locale is {self.collation}, {self.character_type}: an update of the operating system may "
            "change the order of texts, and so break indexes",
            "make a database with LOCALE 'C', or reindex after such an update and set "
            "database.allow_unsafe_locale",
        )


def read_facts(txn: Transaction) -> DatabaseFacts:
    return DatabaseFacts(*txn.rows(_SERVER)[0])


def read_migrations(txn: Transaction) -> list[str]:
    """Names of the migrations that the database has, in order."""
    if txn.value("SELECT to_regclass('schema_migrations')") is None:
        return []
    return [name for (name,) in txn.rows("SELECT name FROM schema_migrations ORDER BY name")]


def read_foreign_tables(txn: Transaction) -> list[str]:
    """Names of the tables of another program, in a database that has no migration of ours."""
    return [name for (name,) in txn.rows(FOREIGN_TABLES)]


def read_runner_names(txn: Transaction) -> dict[str, int]:
    """Names of all processes that have ever been able to run a task, and when the database last knew it."""
    return dict(txn.rows(_NAMES))


def connection_name(process: str, pool: Pool) -> str:
    """What PostgreSQL shows of a connection."""
    return f"{process}_{pool}"[:_LONGEST_NAME]


def read_connected(txn: Transaction, names: Collection[str]) -> set[str]:
    """Which of the processes of these names are connected to the database now."""
    shown = {connection_name(name, pool): name for name in names for pool in get_args(Pool)}
    rows = txn.rows(
        "SELECT DISTINCT application_name FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = ANY(%s)",
        (list(shown),),
    )
    return {shown[name] for (name,) in rows}
