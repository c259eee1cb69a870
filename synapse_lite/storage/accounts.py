"""Accounts, their profiles, and the nonces of the registration by shared secret."""

from collections.abc import Callable

import attrs

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.database import Transaction


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


_ACCOUNT = "user_id, password_hash, is_admin, is_guest, deactivated, locked"


def create_account(txn: Transaction, account: NewAccount) -> bool:
    """False when the user id is taken."""
    created = txn.execute(
        "INSERT INTO users (user_id, created_ts, password_hash, is_admin, is_guest, user_type, displayname)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        attrs.astuple(account),
    )
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


def add_nonce(txn: Transaction, nonce: str, now_ms: int, *, lifetime_ms: int, most: int) -> None:
    """Store a nonce; those whose time is over go, and the oldest when there are more than `most`."""
    txn.execute("DELETE FROM registration_nonces WHERE created_ts <= %s", (now_ms - lifetime_ms,))
    txn.execute(
        "DELETE FROM registration_nonces WHERE nonce IN"
        " (SELECT nonce FROM registration_nonces ORDER BY created_ts DESC OFFSET %s)",
        (most - 1,),
    )
    txn.execute("INSERT INTO registration_nonces (nonce, created_ts) VALUES (%s, %s)", (nonce, now_ms))


def use_nonce(txn: Transaction, nonce: str, now_ms: int, *, lifetime_ms: int) -> bool:
    """Whether the nonce was good; it is not any more."""
    created_ts = txn.value("DELETE FROM registration_nonces WHERE nonce = %s RETURNING created_ts", (nonce,))
    return created_ts is not None and created_ts > now_ms - lifetime_ms
