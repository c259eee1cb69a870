"""Which version of the terms users have agreed to."""

from synapse_lite.errors import not_found
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind


def agreed_version(txn: Transaction, user_id: str) -> str | None:
    version: str | None = txn.value("SELECT consent_version FROM users WHERE user_id = %s", (user_id,))
    return version


def set_agreed(txn: Transaction, user_id: str, version: str, now_ms: int) -> None:
    """404 for an unknown user. Open sessions learn of it."""
    changed = txn.execute(
        "UPDATE users SET consent_version = %s, consent_ts = %s WHERE user_id = %s AND NOT deactivated",
        (version, now_ms, user_id),
    )
    if not changed:
        raise not_found("User not found")
    txn.publish(Kind.SESSION, user_id=user_id)


def is_to_be_asked(txn: Transaction, user_id: str, version: str) -> bool:
    """Whether the user has neither agreed to that version nor been asked to."""
    row = txn.row("SELECT consent_version, consent_notice_version FROM users WHERE user_id = %s", (user_id,))
    return row is not None and version not in row


def set_asked(txn: Transaction, user_id: str, version: str) -> None:
    txn.execute("UPDATE users SET consent_notice_version = %s WHERE user_id = %s", (version, user_id))
