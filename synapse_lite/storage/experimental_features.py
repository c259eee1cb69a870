"""Which experimental features are on or off for a user, whatever holds for others."""

from collections.abc import Mapping

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind


def set_features(txn: Transaction, user_id: str, features: Mapping[str, bool]) -> bool:
    """Those that are named; False for an unknown user. Open sessions learn of it."""
    if txn.row("SELECT FROM users WHERE user_id = %s FOR KEY SHARE", (user_id,)) is None:
        return False
    txn.execute(
        "INSERT INTO experimental_features SELECT %s, * FROM unnest(%s::text[], %s::boolean[])"
        " ON CONFLICT (user_id, feature) DO UPDATE SET enabled = excluded.enabled",
        (user_id, list(features), list(features.values())),
    )
    txn.publish(Kind.SESSION, user_id=user_id)
    return True


def read_features(txn: Transaction, user_id: str) -> dict[str, bool]:
    """What was set for the user."""
    return dict(txn.rows("SELECT feature, enabled FROM experimental_features WHERE user_id = %s", (user_id,)))
