"""Accounts, their profiles, and the nonces of the registration by shared secret."""

from collections.abc import Callable

import attrs

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind


@attrs.frozen
class Account:
    user_id: str
    password_hash: str | None = attrs.field(repr=False)
    is_admin: bool
    is_guest: bool
    deactivated: bool
    locked: bool


@attrs.frozen
class NewAccount:
    user_id: str
    created_ts: int
    password_hash: str | None = attrs.field(default=None, repr=False)
    is_admin: bool = False
    is_guest: bool = False
    user_type: str | None = None
    displayname: str | None = None
    expires_ts: int | None = None
    registration_token: str | None = None
    appservice_id: str | None = None


_ACCOUNT = "user_id, password_hash, is_admin, is_guest, deactivated, locked"


def create_account(txn: Transaction, account: NewAccount) -> bool:
    """False when the user id is taken."""
    created = txn.execute(
        "INSERT INTO users (user_id, created_ts, password_hash, is_admin, is_guest, user_type, displayname,"
        " expires_ts, registration_token, appservice_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        attrs.astuple(account),
    )
    if created:
        txn.later("INSERT INTO user_last_seen (user_id) VALUES (%s)", (account.user_id,))
        txn.publish(Kind.PROFILE, user_id=account.user_id)
    return created == 1


def find_account(txn: Transaction, user_id: str) -> Account | None:
    """The account of that id, or else the only one whose id differs in case only."""
    rows = txn.rows(
        f"SELECT {_ACCOUNT} FROM users WHERE lower(user_id) = lower(%s) ORDER BY user_id <> %s LIMIT 2",
        (user_id, user_id),
    )
    if not rows or (len(rows) > 1 and rows[0][0] != user_id):
        return None
    return Account(*rows[0])


def may_send(txn: Transaction, user_id: str, now_ms: int) -> bool:
    """Whether the account may still be spoken for, without a session of its own."""
    sql = (
        "SELECT NOT (deactivated OR locked OR suspended) AND coalesce(expires_ts > %s, TRUE) FROM users"
        " WHERE user_id = %s"
    )
    return bool(txn.value(sql, (now_ms, user_id)))


def is_shadow_banned(txn: Transaction, user_id: str) -> bool:
    return bool(txn.value("SELECT shadow_banned FROM users WHERE user_id = %s", (user_id,)))


def is_taken(txn: Transaction, user_id: str) -> bool:
    """Whether the id is in use, in whatever case."""
    return txn.row("SELECT FROM users WHERE lower(user_id) = lower(%s)", (user_id,)) is not None


def next_user_number(txn: Transaction) -> int:
    return int(txn.value("SELECT nextval('numbered_users')"))


def set_password_hash(txn: Transaction, user_id: str, password_hash: str) -> None:
    txn.execute("UPDATE users SET password_hash = %s WHERE user_id = %s", (password_hash, user_id))


def replace_password_hash(txn: Transaction, user_id: str, old: str, new: str) -> None:
    """Store the password that was hashed as `old` under a better hash, unless it was changed meanwhile."""
    txn.execute(
        "UPDATE users SET password_hash = %s WHERE user_id = %s AND password_hash = %s", (new, user_id, old)
    )


def keep_password(txn: Transaction, user_id: str, password_hash: str) -> bool:
    """Nobody changes the password until the transaction ends; False when it is stored otherwise by now."""
    kept = txn.row(
        "SELECT FROM users WHERE user_id = %s AND password_hash = %s FOR SHARE", (user_id, password_hash)
    )
    return kept is not None


def set_validity(txn: Transaction, user_id: str, expires_ts: int) -> bool:
    """Let the account expire then; False for an unknown user. Open sessions learn of it."""
    changed = txn.execute("UPDATE users SET expires_ts = %s WHERE user_id = %s", (expires_ts, user_id))
    if changed:
        txn.publish(Kind.SESSION, user_id=user_id)
    return changed == 1


def read_profile(txn: Transaction, user_id: str) -> JsonObject | None:
    return _profile(txn, user_id, "")


def change_profile(txn: Transaction, user_id: str, change: Callable[[JsonObject], JsonObject]) -> bool | None:
    """Replace the profile by what `change` makes of it; whether that differs, or None for an unknown user."""
    before = _profile(txn, user_id, "FOR UPDATE")
    if before is None:
        return None
    after = change(before)
    if after == before:
        return False
    fields = dict(after)
    txn.execute(
        "UPDATE users SET displayname = %s, avatar_url = %s, profile_fields = %s WHERE user_id = %s",
        (
            fields.pop("displayname", None),
            fields.pop("avatar_url", None),
            canonical_json.encode(fields).decode(),
            user_id,
        ),
    )
    txn.publish(Kind.PROFILE, user_id=user_id)
    return True


def _profile(txn: Transaction, user_id: str, lock: str) -> JsonObject | None:
    row = txn.row(
        f"SELECT displayname, avatar_url, profile_fields FROM users WHERE user_id = %s {lock}", (user_id,)
    )
    if row is None:
        return None
    displayname, avatar_url, fields = row
    profile = canonical_json.decode_object(fields)
    if displayname is not None:
        profile["displayname"] = displayname
    if avatar_url is not None:
        profile["avatar_url"] = avatar_url
    return profile


def use_nonce(txn: Transaction, nonce: str, now_ms: int) -> bool:
    """Whether the nonce was not used before; it is now."""
    inserted = txn.execute(
        "INSERT INTO registration_nonces (nonce, used_ts) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (nonce, now_ms),
    )
    return inserted == 1
