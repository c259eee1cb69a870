"""The server name and the signing key that the database belongs to."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.errors import ConfigError
from synapse_lite.storage.database import Transaction


@frozen
class ServerIdentity:
    server_name: str
    key_id: str
    public_key: str


def claim_identity(txn: Transaction, ours: ServerIdentity, retired: Collection[tuple[str, str]]) -> None:
    """Write down whose database this is at the first start, and compare at each later one.

    `retired`: key ids and public keys of `old_signing_keys`; from one of them the database goes over to our key.
    Raises ConfigError for another server's database.
    """
    txn.execute(
        "INSERT INTO server_identity (server_name, key_id, public_key) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (ours.server_name, ours.key_id, ours.public_key),
    )
    stored = read_identity(txn)
    if stored is None or stored == ours:
        return
    if problem := describe_difference(stored, ours, retired):
        raise ConfigError(problem)
    txn.execute("UPDATE server_identity SET key_id = %s, public_key = %s", (ours.key_id, ours.public_key))


def read_identity(txn: Transaction) -> ServerIdentity | None:
    """None before the first start."""
    row = txn.row("SELECT server_name, key_id, public_key FROM server_identity")
    return ServerIdentity(*row) if row else None


def describe_difference(
    stored: ServerIdentity, ours: ServerIdentity, retired: Collection[tuple[str, str]]
) -> str | None:
    """Why a process of `ours` may not use the database, and what to do; None when it may."""
    if stored.server_name != ours.server_name:
        return (
            f"server_name: the database belongs to {stored.server_name}, not to {ours.server_name}: a server's "
            "name cannot be changed; give this server a database of its own"
        )
    stored_key, our_key = (stored.key_id, stored.public_key), (ours.key_id, ours.public_key)
    if stored_key == our_key or stored_key in retired:
        return None
    return (
        f"signing_key_path: holds {ours.key_id}, but the server signs with {stored.key_id} "
        f"(public key {stored.public_key}): put that key back, or, to replace it, list it in old_signing_keys"
    )
