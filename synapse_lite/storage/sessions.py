"""Devices and access tokens. A token comes here as its SHA-256, never as text."""

from collections.abc import Sequence
from typing import NamedTuple

import attrs

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind


@attrs.frozen
class Session:
    """A token and the state of its account."""

    token_nid: int
    user_id: str
    device_id: str | None
    valid_until_ts: int | None
    is_admin: bool
    is_guest: bool
    deactivated: bool
    locked: bool
    suspended: bool
    shadow_banned: bool


class Use(NamedTuple):
    """When and from where a device was used last."""

    user_id: str
    device_id: str
    ts: int
    ip: str
    user_agent: str


def find_session(txn: Transaction, token_hash: bytes) -> Session | None:
    row = txn.row(
        "SELECT token_nid, user_id, device_id, valid_until_ts, is_admin, is_guest, deactivated, locked,"
        " suspended, shadow_banned FROM access_tokens JOIN users USING (user_id) WHERE token_hash = %s",
        (token_hash,),
    )
    return Session(*row) if row else None


def create_session(
    txn: Transaction,
    user_id: str,
    device_id: str | None,
    token_hash: bytes,
    now_ms: int,
    *,
    display_name: str | None = None,
    valid_until_ts: int | None = None,
) -> None:
    """Store a token. A device has one token: its earlier one is void.

    `display_name` names a device that is new; one that exists keeps its name. Without a device the
    token stands alone (an administrator acting as a user).
    """
    if device_id is not None:
        txn.execute(
            "INSERT INTO devices (user_id, device_id, display_name) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (user_id, device_id, display_name),
        )
        replaced = txn.execute(
            "DELETE FROM access_tokens WHERE user_id = %s AND device_id = %s", (user_id, device_id)
        )
        if replaced:
            txn.publish(Kind.SESSION, user_id=user_id)
    txn.execute(
        "INSERT INTO access_tokens (token_hash, user_id, device_id, created_ts, valid_until_ts)"
        " VALUES (%s, %s, %s, %s, %s)",
        (token_hash, user_id, device_id, now_ms, valid_until_ts),
    )


def delete_session(txn: Transaction, token_hash: bytes) -> None:
    """Delete the token and, with it, the device that it belongs to."""
    row = txn.row(
        "DELETE FROM access_tokens WHERE token_hash = %s RETURNING user_id, device_id", (token_hash,)
    )
    if row is None:
        return
    user_id, device_id = row
    if device_id is not None:
        txn.execute("DELETE FROM devices WHERE user_id = %s AND device_id = %s", (user_id, device_id))
    txn.publish(Kind.SESSION, user_id=user_id)


def delete_all_sessions(txn: Transaction, user_id: str, *, except_token_nid: int | None = None) -> None:
    """Delete the tokens and devices of a user, but for the session of `except_token_nid`."""
    txn.execute(
        "DELETE FROM access_tokens WHERE user_id = %s AND token_nid IS DISTINCT FROM %s",
        (user_id, except_token_nid),
    )
    txn.execute(
        "DELETE FROM devices WHERE user_id = %s AND NOT EXISTS (SELECT FROM access_tokens AS token"
        " WHERE token.user_id = devices.user_id AND token.device_id = devices.device_id)",
        (user_id,),
    )
    txn.publish(Kind.SESSION, user_id=user_id)


def delete_expired_tokens(txn: Transaction, now_ms: int, limit: int) -> int:
    """Delete at most `limit` tokens whose time is over; how many there were."""
    return txn.execute(
        "DELETE FROM access_tokens WHERE token_nid IN (SELECT token_nid FROM access_tokens"
        " WHERE valid_until_ts <= %s ORDER BY valid_until_ts LIMIT %s)",
        (now_ms, limit),
    )


def write_uses(txn: Transaction, uses: Sequence[Use]) -> None:
    txn.insert(
        "UPDATE devices SET last_seen_ts = used.ts, last_seen_ip = used.ip, last_seen_user_agent = used.user_agent"
        " FROM (VALUES %s) AS used (user_id, device_id, ts, ip, user_agent)"
        " WHERE devices.user_id = used.user_id AND devices.device_id = used.device_id",
        uses,
        "(%s, %s, %s::bigint, %s, %s)",
    )
