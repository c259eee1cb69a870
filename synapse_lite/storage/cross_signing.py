"""Cross-signing keys: of each user one master, one self-signing and one user-signing key."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind

MASTER = "master"
SELF_SIGNING = "self_signing"
USER_SIGNING = "user_signing"
USAGES = (MASTER, SELF_SIGNING, USER_SIGNING)


class CrossSigningKey(NamedTuple):
    """`json` as uploaded, with the signatures of its owner's own keys on it."""

    user_id: str
    usage: str
    public_key: str
    json: str


def read_cross_signing_keys(txn: Transaction, user_ids: Collection[str]) -> list[CrossSigningKey]:
    rows = txn.rows(
        "SELECT user_id, usage, public_key, json FROM cross_signing_keys WHERE user_id = ANY (%s)",
        (list(user_ids),),
    )
    return [CrossSigningKey(*row) for row in rows]


def is_replaceable(txn: Transaction, user_id: str, now_ms: int) -> bool:
    """Whether an administrator has allowed the user to put other keys in place without a proof."""
    until = txn.value(
        "SELECT replaceable_until_ts FROM cross_signing_keys WHERE user_id = %s AND usage = %s",
        (user_id, MASTER),
    )
    return until is not None and until > now_ms


def allow_replacement(txn: Transaction, user_id: str, until_ms: int) -> bool:
    """False when the user has no master key."""
    updated = txn.execute(
        "UPDATE cross_signing_keys SET replaceable_until_ts = %s WHERE user_id = %s AND usage = %s",
        (until_ms, user_id, MASTER),
    )
    return updated == 1


def put_cross_signing_keys(txn: Transaction, keys: Sequence[CrossSigningKey]) -> None:
    """Store keys of one user. What was signed with a key that is replaced, or on it, is forgotten."""
    if not keys:
        return
    user_id = keys[0].user_id
    old = {key.usage: key.public_key for key in read_cross_signing_keys(txn, [user_id])}
    replaced = [old[key.usage] for key in keys if old.get(key.usage, key.public_key) != key.public_key]
    if replaced:
        txn.later(
            "DELETE FROM key_signatures WHERE target_user_id = %s AND target_id = ANY (%s)",
            (user_id, replaced),
        )
        txn.later(
            "DELETE FROM key_signatures WHERE signer_user_id = %s AND key_id = ANY (%s)",
            (user_id, [f"ed25519:{key}" for key in replaced]),
        )
    changed = txn.fetch_values(
        "INSERT INTO cross_signing_keys (user_id, usage, public_key, json) VALUES %s"
        " ON CONFLICT (user_id, usage) DO UPDATE SET public_key = excluded.public_key, json = excluded.json,"
        " replaceable_until_ts = NULL WHERE cross_signing_keys.json <> excluded.json RETURNING usage",
        keys,
    )
    if changed:
        txn.publish(Kind.DEVICE_LIST, user_id=user_id)
