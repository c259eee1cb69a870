"""Limits of single users, which stand instead of `rc_message`."""

from typing import NamedTuple

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind


class Override(NamedTuple):
    """Zero messages a second: no limit at all."""

    messages_per_second: int
    burst_count: int


def read_override(txn: Transaction, user_id: str) -> Override | None:
    row = txn.row(
        "SELECT messages_per_second, burst_count FROM rate_limit_overrides WHERE user_id = %s", (user_id,)
    )
    return Override(*row) if row else None


def put_override(txn: Transaction, user_id: str, override: Override) -> None:
    """Open sessions learn of it."""
    txn.execute(
        "INSERT INTO rate_limit_overrides VALUES (%s, %s, %s) ON CONFLICT (user_id) DO UPDATE"
        " SET messages_per_second = excluded.messages_per_second, burst_count = excluded.burst_count",
        (user_id, *override),
    )
    txn.publish(Kind.SESSION, user_id=user_id)


def delete_override(txn: Transaction, user_id: str) -> None:
    txn.execute("DELETE FROM rate_limit_overrides WHERE user_id = %s", (user_id,))
    txn.publish(Kind.SESSION, user_id=user_id)
