"""Reads for someone who looks for what is wrong. They work on any PostgreSQL database, also an empty one."""

from attrs import frozen

from synapse_lite.storage.database import Transaction

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


def read_facts(txn: Transaction) -> DatabaseFacts:
    return DatabaseFacts(*txn.rows(_SERVER)[0])


def read_migrations(txn: Transaction) -> list[str]:
    """Names of the migrations that the database has, in order."""
    if txn.value("SELECT to_regclass('schema_migrations')") is None:
        return []
    return [name for (name,) in txn.rows("SELECT name FROM schema_migrations ORDER BY name")]


def read_runner_names(txn: Transaction) -> dict[str, int]:
    """Names of all processes that have ever been able to run a task, and when the database last knew it."""
    return dict(txn.rows(_NAMES))
