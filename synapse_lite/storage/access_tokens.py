"""Access, refresh and login tokens. A token comes here as its SHA-256, never as text."""

from collections.abc import Mapping

import attrs

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind

SUPERSEDED_TS = 0
"""The end of an access token whose successor was used: it tells its device that it must refresh."""


@attrs.frozen
class AccessToken:
    """A token and the state of its account; `token_nid` None: of who speaks for the account without one.

    `replaces_nid` is the refresh token that the first use of this one ends. `messages_per_second` and
    `burst_count` stand instead of `rc_message`, None where that holds. `features` are the experimental features
    that were turned on or off for the user.
    """

    token_nid: int | None
    user_id: str
    device_id: str | None
    valid_until_ts: int | None
    is_admin: bool
    is_guest: bool
    deactivated: bool
    locked: bool
    suspended: bool
    shadow_banned: bool
    refresh_nid: int | None
    replaces_nid: int | None
    messages_per_second: int | None
    burst_count: int | None
    account_expires_ts: int | None
    consent_version: str | None
    features: Mapping[str, bool]


@attrs.frozen
class NewToken:
    """Times are milliseconds since 1970; None: for ever."""

    token_hash: bytes
    valid_until_ts: int | None = None


@attrs.frozen
class RefreshToken:
    """`salt` is what its successors are made with, None before they are."""

    nid: int
    user_id: str
    device_id: str
    valid_until_ts: int | None
    session_until_ts: int | None
    replaces_nid: int | None
    salt: bytes | None
    deactivated: bool
    locked: bool


_ACCOUNT = (
    "consent_version, (SELECT coalesce(jsonb_object_agg(feature, enabled), '{}')"
    " FROM experimental_features AS f WHERE f.user_id = users.user_id)"
)


def find_access_token(txn: Transaction, token_hash: bytes) -> AccessToken | None:
    row = txn.row(
        "SELECT token_nid, token.user_id, token.device_id, token.valid_until_ts, is_admin, is_guest,"
        " deactivated, locked, suspended, shadow_banned, token.refresh_nid, refresh.replaces_nid, messages_per_second, burst_count,"
        f" expires_ts, {_ACCOUNT}"
        " FROM access_tokens AS token JOIN users USING (user_id)"
        " LEFT JOIN refresh_tokens AS refresh ON refresh.refresh_nid = token.refresh_nid"
        " LEFT JOIN rate_limit_overrides AS override ON override.user_id = token.user_id"
        " WHERE token.token_hash = %s",
        (token_hash,),
    )
    return AccessToken(*row) if row else None


def speak_for(txn: Transaction, user_id: str, device_id: str | None) -> tuple[AccessToken, bool] | None:
    """The account as a token of it would have it, and whether the device is there; None for an unknown user."""
    row = txn.row(
        "SELECT is_admin, is_guest, deactivated, locked, suspended, shadow_banned, NULL, NULL, messages_per_second,"
        f" burst_count, expires_ts, {_ACCOUNT},"
        " EXISTS (SELECT FROM devices AS d WHERE d.user_id = users.user_id AND d.device_id = %s)"
        " FROM users LEFT JOIN rate_limit_overrides AS override USING (user_id) WHERE users.user_id = %s",
        (device_id, user_id),
    )
    return (AccessToken(None, user_id, device_id, None, *row[:-1]), row[-1]) if row else None


def add_access_token(
    txn: Transaction,
    user_id: str,
    device_id: str | None,
    token: NewToken,
    now_ms: int,
    *,
    refresh_nid: int | None = None,
) -> None:
    """Without a device the token stands alone (an administrator acting as a user).

    A token that is there already gets the new end.
    """
    txn.execute(
        "INSERT INTO access_tokens (token_hash, user_id, device_id, created_ts, valid_until_ts, refresh_nid)"
        " VALUES (%s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (token_hash) DO UPDATE SET valid_until_ts = excluded.valid_until_ts",
        (token.token_hash, user_id, device_id, now_ms, token.valid_until_ts, refresh_nid),
    )


def keep_token(txn: Transaction, token_nid: int) -> bool:
    """Nobody deletes the token until the transaction ends; False when it is gone."""
    return txn.row("SELECT FROM access_tokens WHERE token_nid = %s FOR KEY SHARE", (token_nid,)) is not None


def note_proof(txn: Transaction, token_nid: int, now_ms: int) -> None:
    """Its user has proved who they are."""
    txn.execute("UPDATE access_tokens SET proved_ts = %s WHERE token_nid = %s", (now_ms, token_nid))


def has_proved(txn: Transaction, token_nid: int, since_ms: int) -> bool:
    """Whether its user has proved since then who they are, by their log-in too. Not who acts as a user, nor by a refresh."""
    return bool(
        txn.value(
            "SELECT proved_ts >= %s OR (refresh_nid IS NULL AND created_ts >= %s)"
            " FROM access_tokens WHERE token_nid = %s AND device_id IS NOT NULL",
            (since_ms, since_ms, token_nid),
        )
    )


def add_refresh_token(
    txn: Transaction,
    user_id: str,
    device_id: str,
    token: NewToken,
    *,
    session_until_ts: int | None,
    replaces_nid: int | None = None,
) -> int:
    """Its nid; a token that is there already gets the new end."""
    return int(
        txn.value(
            "INSERT INTO refresh_tokens"
            " (token_hash, user_id, device_id, valid_until_ts, session_until_ts, replaces_nid)"
            " VALUES (%s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (token_hash) DO UPDATE SET valid_until_ts = excluded.valid_until_ts"
            " RETURNING refresh_nid",
            (token.token_hash, user_id, device_id, token.valid_until_ts, session_until_ts, replaces_nid),
        )
    )


def delete_device_tokens(txn: Transaction, user_id: str, device_id: str) -> None:
    """Whoever logs in as a device that exists ends its earlier session."""
    deleted = txn.execute(
        "DELETE FROM access_tokens WHERE user_id = %s AND device_id = %s", (user_id, device_id)
    )
    txn.later("DELETE FROM refresh_tokens WHERE user_id = %s AND device_id = %s", (user_id, device_id))
    if deleted:
        txn.publish(Kind.SESSION, user_id=user_id)


def delete_access_token(txn: Transaction, token_hash: bytes) -> tuple[str, str | None] | None:
    """Whose it was: user and device."""
    _lock_device_of(txn, "access_tokens WHERE token_hash = %s", token_hash)
    row = txn.row(
        "DELETE FROM access_tokens WHERE token_hash = %s RETURNING user_id, device_id", (token_hash,)
    )
    if row is None:
        return None
    txn.publish(Kind.SESSION, user_id=row[0])
    return row[0], row[1]


def delete_tokens(txn: Transaction, user_id: str, *, except_token_nid: int | None = None) -> list[str]:
    """Delete the tokens of a user but that one, and all login tokens; the devices that are left without any."""
    txn.later("SELECT FROM devices WHERE user_id = %s ORDER BY device_id FOR NO KEY UPDATE", (user_id,))
    txn.execute(
        "DELETE FROM access_tokens WHERE user_id = %s AND token_nid IS DISTINCT FROM %s",
        (user_id, except_token_nid),
    )
    txn.later("DELETE FROM login_tokens WHERE user_id = %s", (user_id,))
    txn.publish(Kind.SESSION, user_id=user_id)
    rows = txn.rows(
        "SELECT device_id FROM devices WHERE user_id = %s AND dehydrated IS NULL AND NOT EXISTS ("
        " SELECT FROM access_tokens AS token"
        " WHERE token.user_id = devices.user_id AND token.device_id = devices.device_id)",
        (user_id,),
    )
    return [device_id for (device_id,) in rows]


def find_refresh_token(txn: Transaction, token_hash: bytes) -> RefreshToken | None:
    """Locked with its device: who refreshes with the same token waits, and who logs in as the device."""
    _lock_device_of(txn, "refresh_tokens WHERE token_hash = %s", token_hash)
    row = txn.row(
        "SELECT refresh_nid, token.user_id, device_id, valid_until_ts, session_until_ts, replaces_nid, salt,"
        " deactivated, locked FROM refresh_tokens AS token JOIN users USING (user_id)"
        " WHERE token_hash = %s FOR UPDATE OF token",
        (token_hash,),
    )
    return RefreshToken(*row) if row else None


def set_salt(txn: Transaction, refresh_nid: int, salt: bytes) -> None:
    txn.execute("UPDATE refresh_tokens SET salt = %s WHERE refresh_nid = %s", (salt, refresh_nid))


def end_replaced(txn: Transaction, refresh_nid: int, replaces_nid: int, user_id: str) -> None:
    """The first use of a successor: the refresh token before it is gone, its access token is over.

    Of access tokens that are over the last one stays: its client learns that it must refresh.
    """
    _lock_device_of(txn, "refresh_tokens WHERE refresh_nid = %s", refresh_nid)
    replaced = txn.rows(
        "UPDATE access_tokens SET valid_until_ts = %s WHERE refresh_nid = %s RETURNING token_nid, device_id",
        (SUPERSEDED_TS, replaces_nid),
    )
    for token_nid, device_id in replaced:
        txn.later(
            "DELETE FROM access_tokens WHERE user_id = %s AND device_id = %s AND valid_until_ts = %s"
            " AND token_nid <> %s",
            (user_id, device_id, SUPERSEDED_TS, token_nid),
        )
    txn.later("UPDATE refresh_tokens SET replaces_nid = NULL WHERE refresh_nid = %s", (refresh_nid,))
    txn.execute("DELETE FROM refresh_tokens WHERE refresh_nid = %s", (replaces_nid,))
    txn.publish(Kind.SESSION, user_id=user_id)


def delete_expired_tokens(txn: Transaction, now_ms: int, limit: int) -> int:
    """Delete at most `limit` tokens without a device whose time is over; how many there were."""
    return txn.execute(
        "DELETE FROM access_tokens WHERE token_nid IN (SELECT token_nid FROM access_tokens"
        " WHERE valid_until_ts <= %s AND device_id IS NULL ORDER BY valid_until_ts LIMIT %s)",
        (now_ms, limit),
    )


def add_login_token(txn: Transaction, user_id: str, token: NewToken) -> None:
    txn.execute(
        "INSERT INTO login_tokens (token_hash, user_id, valid_until_ts) VALUES (%s, %s, %s)",
        (token.token_hash, user_id, token.valid_until_ts),
    )


def use_login_token(txn: Transaction, token_hash: bytes, now_ms: int) -> str | None:
    """Whom it logs in; it does so once. None when it is unknown, used, or over."""
    row = txn.row(
        "DELETE FROM login_tokens WHERE token_hash = %s RETURNING user_id, valid_until_ts", (token_hash,)
    )
    return row[0] if row is not None and row[1] > now_ms else None


def delete_expired_login_tokens(txn: Transaction, now_ms: int, limit: int) -> int:
    return txn.execute(
        "DELETE FROM login_tokens WHERE token_hash IN (SELECT token_hash FROM login_tokens"
        " WHERE valid_until_ts <= %s ORDER BY valid_until_ts LIMIT %s)",
        (now_ms, limit),
    )


def _lock_device_of(txn: Transaction, token: str, value: object) -> None:
    """Before the tokens of a device: who begins, goes on with or ends a session of it waits here, and never one for the other."""
    txn.later(
        f"SELECT FROM devices WHERE (user_id, device_id) = (SELECT user_id, device_id FROM {token})"
        " FOR NO KEY UPDATE",
        (value,),
    )
