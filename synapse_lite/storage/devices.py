"""Devices: their names, when they were used last, and their end."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import attrs

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.device_lists import publish_devices
from synapse_lite.storage.stream import Kind

INBOX_AT_ONCE = 1000
"""So many messages of deleted devices are deleted with them; a larger inbox goes in slices."""


@attrs.frozen
class Device:
    """`last_seen_ts` is in milliseconds since 1970; None with the others until the device is used."""

    user_id: str
    device_id: str
    display_name: str | None
    last_seen_ts: int | None
    last_seen_ip: str | None
    last_seen_user_agent: str | None
    is_dehydrated: bool


class DeviceUse(NamedTuple):
    """When and from where a device was used last."""

    user_id: str
    device_id: str
    ts: int
    ip: str
    user_agent: str


_DEVICE = (
    "user_id, device_id, display_name, last_seen_ts, last_seen_ip, last_seen_user_agent,"
    " dehydrated IS NOT NULL"
)


def create_device(
    txn: Transaction, user_id: str, device_id: str, display_name: str | None, now_ms: int
) -> bool:
    """False when it exists: it keeps its name. A new one gets no message that was meant for its predecessor."""
    created = txn.execute(
        "INSERT INTO devices (user_id, device_id, display_name, created_ts, inbox_after)"
        " SELECT %s, %s, %s, %s, position FROM stream_position ON CONFLICT DO NOTHING",
        (user_id, device_id, display_name, now_ms),
    )
    return created == 1


def lock_device(txn: Transaction, user_id: str, device_id: str) -> bool:
    """One log-in and one upload of a device at a time; False when the device is gone."""
    return (
        txn.row(
            "SELECT FROM devices WHERE user_id = %s AND device_id = %s FOR NO KEY UPDATE",
            (user_id, device_id),
        )
        is not None
    )


def lock_owner(txn: Transaction, user_id: str) -> None:
    """One replacement of a user's dehydrated device, or change of what they sign with, at a time."""
    txn.execute("SELECT FROM users WHERE user_id = %s FOR NO KEY UPDATE", (user_id,))


def keep_devices(txn: Transaction, user_id: str) -> None:
    """Nobody deletes a device of the user until the transaction ends."""
    txn.execute("SELECT FROM devices WHERE user_id = %s ORDER BY device_id FOR KEY SHARE", (user_id,))


def read_devices(txn: Transaction, user_id: str) -> list[Device]:
    """By id."""
    rows = txn.rows(f"SELECT {_DEVICE} FROM devices WHERE user_id = %s ORDER BY device_id", (user_id,))
    return [Device(*row) for row in rows]


def find_device(txn: Transaction, user_id: str, device_id: str) -> Device | None:
    row = txn.row(
        f"SELECT {_DEVICE} FROM devices WHERE user_id = %s AND device_id = %s", (user_id, device_id)
    )
    return Device(*row) if row else None


def rename_device(txn: Transaction, user_id: str, device_id: str, display_name: str) -> bool:
    """False when there is no such device."""
    row = txn.row(
        "UPDATE devices SET display_name = %(name)s FROM devices AS old"
        " WHERE devices.user_id = %(user)s AND devices.device_id = %(device)s"
        " AND (old.user_id, old.device_id) = (devices.user_id, devices.device_id)"
        " RETURNING old.display_name IS DISTINCT FROM %(name)s",
        {"name": display_name, "user": user_id, "device": device_id},
    )
    if row == (True,):
        publish_devices(txn, user_id, [device_id])
    return row is not None


def delete_devices(txn: Transaction, user_id: str, device_ids: Collection[str]) -> list[str]:
    """Delete the devices with their tokens, keys, signatures and messages.

    Returns those of which messages are left: their inboxes are too large for one transaction.
    """
    wanted = (user_id, sorted(device_ids))
    deleted = txn.rows(
        "DELETE FROM devices WHERE user_id = %s AND device_id = ANY (%s) RETURNING device_id", wanted
    )
    if not deleted:
        return []
    txn.later("DELETE FROM key_signatures WHERE target_user_id = %s AND target_id = ANY (%s)", wanted)
    txn.later(
        "DELETE FROM key_signatures WHERE signer_user_id = %s AND key_id = ANY (%s)",
        (user_id, [f"ed25519:{device_id}" for device_id in wanted[1]]),
    )
    txn.publish(Kind.SESSION, user_id=user_id)
    publish_devices(txn, user_id, sorted(device_id for (device_id,) in deleted))
    messages = txn.execute(
        "DELETE FROM device_inbox WHERE (user_id, device_id, position) IN ("
        " SELECT user_id, device_id, position FROM device_inbox WHERE user_id = %s AND device_id = ANY (%s)"
        " LIMIT %s)",
        (*wanted, INBOX_AT_ONCE),
    )
    if messages < INBOX_AT_ONCE:
        return []
    rows = txn.rows(
        "SELECT device_id FROM unnest(%s::text[]) AS device_id WHERE EXISTS ("
        " SELECT FROM device_inbox AS inbox"
        " WHERE inbox.user_id = %s AND inbox.device_id = device_id.device_id)",
        (wanted[1], user_id),
    )
    return [device_id for (device_id,) in rows]


_STALE = (
    "dehydrated IS NULL AND coalesce(last_seen_ts, created_ts) < %(before)s"
    " AND (%(users)s::text[] = '{}' OR user_id = ANY(%(users)s))"
)


def count_stale_devices(txn: Transaction, before_ms: int, user_ids: Sequence[str] = ()) -> int:
    """How many `stale_devices` would find."""
    return int(
        txn.value(
            f"SELECT count(*) FROM devices WHERE {_STALE}", {"before": before_ms, "users": list(user_ids)}
        )
    )


def stale_devices(
    txn: Transaction, before_ms: int, limit: int, user_ids: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """(user, device) of those that were not used since then, longest unused first; dehydrated ones wait.

    Of everybody where no users are named.
    """
    rows = txn.rows(
        f"SELECT user_id, device_id FROM devices WHERE {_STALE}"
        " ORDER BY coalesce(last_seen_ts, created_ts) LIMIT %(limit)s FOR UPDATE SKIP LOCKED",
        {"before": before_ms, "users": list(user_ids), "limit": limit},
    )
    return [(user_id, device_id) for user_id, device_id in rows]


def forget_addresses(txn: Transaction, before_ms: int, limit: int) -> int:
    """From where, and by what program, devices were used that were not used since then. How many there were.

    A dehydrated one is used by nobody; without them the devices are found by the index of when they were used.
    """
    return txn.execute(
        "UPDATE devices SET last_seen_ip = NULL, last_seen_user_agent = NULL"
        " WHERE (user_id, device_id) IN (SELECT user_id, device_id FROM devices"
        " WHERE dehydrated IS NULL AND coalesce(last_seen_ts, created_ts) < %s AND last_seen_ip IS NOT NULL"
        " LIMIT %s FOR UPDATE SKIP LOCKED)",
        (before_ms, limit),
    )


def write_uses(txn: Transaction, uses: Sequence[DeviceUse]) -> None:
    """Of devices that exist."""
    txn.insert(
        "UPDATE devices SET last_seen_ts = used.ts, last_seen_ip = used.ip, last_seen_user_agent = used.user_agent"
        " FROM (VALUES %s) AS used (user_id, device_id, ts, ip, user_agent)"
        " WHERE devices.user_id = used.user_id AND devices.device_id = used.device_id",
        uses,
        "(%s, %s, %s::bigint, %s, %s)",
    )
    latest = {use.user_id: use.ts for use in sorted(uses, key=lambda use: use.ts)}
    txn.execute(
        "UPDATE user_last_seen AS s SET last_seen_ts = greatest(s.last_seen_ts, used.ts)"
        " FROM unnest(%s::text[], %s::bigint[]) AS used (user_id, ts) WHERE s.user_id = used.user_id",
        (list(latest), list(latest.values())),
    )
