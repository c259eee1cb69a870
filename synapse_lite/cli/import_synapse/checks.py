"""What must be so before anything is written."""

from synapse_lite.cli.import_synapse.target import Import
from synapse_lite.errors import SynapseLiteError
from synapse_lite.storage.server_identity import read_identity
from synapse_lite.storage.synapse.database import SynapseDatabase, SynapseDatabaseError
from synapse_lite.storage.tasks.runners import read_runners

OLDEST_SCHEMA = 72
SHOWN = 5


class ServerRunsError(SynapseLiteError):
    """What it writes meanwhile, and what it remembers, would not fit to what comes."""


def check(work: Import) -> None:
    """Raises `SynapseDatabaseError`, `ServerRunsError`, and `SynapseLiteError` for another server's database."""
    _check_source(work.synapse)
    _check_names(work)
    _check_target(work)


def _check_source(synapse: SynapseDatabase) -> None:
    versions = [row["version"] for row in synapse.rows("SELECT version FROM schema_version")]
    if not versions or versions[0] < OLDEST_SCHEMA:
        raise SynapseDatabaseError(
            f"its schema has version {versions[0] if versions else None}, and {OLDEST_SCHEMA} is the oldest that is"
            " understood: run a newer Synapse on it first"
        )
    updates = [row["update_name"] for row in synapse.rows("SELECT update_name FROM background_updates")]
    if updates:
        raise SynapseDatabaseError(
            f"{len(updates)} background updates are not done ({', '.join(sorted(updates)[:SHOWN])}): start Synapse,"
            " and wait until it has finished them"
        )


def _check_names(work: Import) -> None:
    """Users of other servers are left out: where all are, it is another server's database."""
    some = work.synapse.rows("SELECT name FROM users WHERE name IS NOT NULL LIMIT 1")
    ours = work.synapse.rows("SELECT name FROM users WHERE name LIKE ? LIMIT 1", (f"%:{work.server_name}",))
    if some and not ours:
        raise SynapseDatabaseError(f"its users are none of {work.server_name}, as {some[0]['name']}")


def _check_target(work: Import) -> None:
    with work.transaction() as txn:
        identity = read_identity(txn)
        alive = [runner.name for runner in read_runners(txn) if runner.alive]
    if identity is not None and identity.server_name != work.server_name:
        raise SynapseLiteError(f"our database belongs to {identity.server_name}, not to {work.server_name}")
    if alive:
        raise ServerRunsError(f"this server is running ({', '.join(alive)}): stop it first")
