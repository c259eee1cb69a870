"""Accounts, and what administrators and identity providers know of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.imported.rows import add_new
from synapse_lite.storage.stream import Kind


class ImportedUser(NamedTuple):
    """The columns of an account. `profile_fields` is JSON; times are milliseconds since 1970."""

    user_id: str
    password_hash: str | None
    is_admin: bool
    is_guest: bool
    deactivated: bool
    locked: bool
    suspended: bool
    shadow_banned: bool
    erased: bool
    user_type: str | None
    appservice_id: str | None
    created_ts: int
    consent_version: str | None
    consent_ts: int | None
    consent_notice_version: str | None
    expires_ts: int | None
    displayname: str | None
    avatar_url: str | None
    profile_fields: str


class ImportedThreepid(NamedTuple):
    medium: str
    address: str
    user_id: str
    validated_ts: int
    added_ts: int


class ImportedToken(NamedTuple):
    """With which one may register."""

    token: str
    uses_allowed: int | None
    completed: int
    expiry_ts: int | None


def add_users(txn: Transaction, users: Sequence[tuple[ImportedUser, int | None]]) -> int:
    """Each with the time (ms) at which they were here last. How many are new."""
    seen: Mapping[str, int | None] = {user.user_id: last_seen for user, last_seen in users}
    rows = add_new(txn, "users", ", ".join(ImportedUser._fields), [user for user, _ in users], "user_id")
    new = [user_id for (user_id,) in rows]
    txn.insert(
        "INSERT INTO user_last_seen (user_id, last_seen_ts) VALUES %s ON CONFLICT DO NOTHING",
        [(user_id, seen[user_id]) for user_id in new],
    )
    for user_id in new:
        txn.publish(Kind.PROFILE, user_id=user_id)
    return len(new)


def pass_numbered_users(txn: Transaction) -> None:
    """The next guest gets a number above those that are taken."""
    txn.execute(
        "SELECT setval('numbered_users', greatest(taken.most, numbered_users.last_value)) FROM numbered_users,"
        " (SELECT max(substr(split_part(user_id, ':', 1), 2)::bigint) AS most FROM users"
        " WHERE user_id ~ '^@[0-9]{1,15}:') AS taken WHERE taken.most IS NOT NULL"
    )


def add_threepids(txn: Transaction, threepids: Sequence[ImportedThreepid]) -> int:
    return len(add_new(txn, "user_threepids", ", ".join(ImportedThreepid._fields), threepids))


def add_external_ids(txn: Transaction, rows: Sequence[tuple[str, str, str]]) -> int:
    """Provider, id, user."""
    return len(add_new(txn, "user_external_ids", "auth_provider, external_id, user_id", rows))


def add_rate_limits(txn: Transaction, rows: Sequence[tuple[str, int, int]]) -> int:
    """User, messages a second, burst."""
    return len(add_new(txn, "rate_limit_overrides", "user_id, messages_per_second, burst_count", rows))


def add_features(txn: Transaction, rows: Sequence[tuple[str, str, bool]]) -> int:
    return len(add_new(txn, "experimental_features", "user_id, feature, enabled", rows))


def add_registration_tokens(txn: Transaction, tokens: Sequence[ImportedToken]) -> int:
    return len(add_new(txn, "registration_tokens", ", ".join(ImportedToken._fields), tokens))


def add_active_users(txn: Transaction, rows: Sequence[tuple[str, int]]) -> int:
    """User, and when they were seen (ms)."""
    return len(add_new(txn, "active_users", "user_id, seen_ts", rows))
