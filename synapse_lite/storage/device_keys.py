"""Public keys of devices, and the signatures that others added to keys."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.device_lists import publish_devices
from synapse_lite.storage.stream import Kind, Position


class DeviceKeys(NamedTuple):
    """`json` is signed by the device itself."""

    user_id: str
    device_id: str
    json: str
    display_name: str | None


class KeySignature(NamedTuple):
    """Of the key `key_id` (with its algorithm) of `signer_user_id` on a device or a cross-signing key."""

    target_user_id: str
    target_id: str
    signer_user_id: str
    key_id: str
    signature: str


_DEVICE_KEYS = (
    "user_id, device_id, json, display_name FROM device_keys JOIN devices USING (user_id, device_id)"
)


def put_device_keys(txn: Transaction, user_id: str, device_id: str, json: str) -> None:
    """Store the keys of a device; the same ones again change nothing."""
    changed = txn.execute(
        "INSERT INTO device_keys (user_id, device_id, json) VALUES (%s, %s, %s)"
        " ON CONFLICT (user_id, device_id) DO UPDATE SET json = excluded.json"
        " WHERE device_keys.json <> excluded.json",
        (user_id, device_id, json),
    )
    if changed:
        publish_devices(txn, user_id, [device_id])


def device_keys_size(txn: Transaction, user_id: str) -> int:
    """Bytes of all devices of the user."""
    return int(
        txn.value(
            "SELECT coalesce(sum(octet_length(json)), 0) FROM device_keys WHERE user_id = %s", (user_id,)
        )
    )


def key_sizes(txn: Transaction, user_ids: Collection[str]) -> int:
    """Bytes of all devices and cross-signing keys of the users."""
    if not user_ids:
        return 0
    users = list(user_ids)
    return int(
        txn.value(
            "SELECT coalesce((SELECT sum(octet_length(json)) FROM device_keys WHERE user_id = ANY (%s)), 0)"
            " + coalesce((SELECT sum(octet_length(json)) FROM cross_signing_keys WHERE user_id = ANY (%s)), 0)",
            (users, users),
        )
    )


def find_device_keys(txn: Transaction, user_id: str, device_id: str) -> str | None:
    json: str | None = txn.value(
        "SELECT json FROM device_keys WHERE user_id = %s AND device_id = %s", (user_id, device_id)
    )
    return json


def read_device_keys(
    txn: Transaction, all_of: Collection[str], some: Mapping[str, Collection[str]]
) -> list[DeviceKeys]:
    """The keys of all devices of the users `all_of`, and of those devices that `some` names by user."""
    pairs = {(user_id, device_id) for user_id, device_ids in some.items() for device_id in device_ids}
    rows = []
    if all_of:
        rows += txn.rows(f"SELECT {_DEVICE_KEYS} WHERE user_id = ANY (%s)", (list(all_of),))
    if pairs:
        rows += txn.rows(
            f"SELECT {_DEVICE_KEYS} JOIN unnest(%s::text[], %s::text[]) AS wanted (user_id, device_id)"
            " USING (user_id, device_id)",
            ([user_id for user_id, _ in pairs], [device_id for _, device_id in pairs]),
        )
    return [DeviceKeys(*row) for row in rows]


_SIGNATURES = "target_user_id, target_id, signer_user_id, key_id, signature FROM key_signatures"


def read_signatures(txn: Transaction, user_ids: Collection[str]) -> list[KeySignature]:
    """What the users signed of their own."""
    rows = txn.rows(
        f"SELECT {_SIGNATURES} WHERE target_user_id = ANY (%s) AND signer_user_id = target_user_id",
        (list(user_ids),),
    )
    return [KeySignature(*row) for row in rows]


def read_signatures_on_others(txn: Transaction, signer: str) -> list[KeySignature]:
    """Of which nobody but the signer is told."""
    rows = txn.rows(
        f"SELECT {_SIGNATURES} WHERE signer_user_id = %s AND target_user_id <> signer_user_id", (signer,)
    )
    return [KeySignature(*row) for row in rows]


def put_signatures(txn: Transaction, signer: str, signatures: Sequence[KeySignature]) -> None:
    """Of the same key on the same target the newest stays.

    On own keys everybody is told; of a signature on the keys of somebody else only the signer hears.
    """
    changed = txn.fetch_values(
        "INSERT INTO key_signatures (target_user_id, target_id, signer_user_id, key_id, signature) VALUES %s"
        " ON CONFLICT (target_user_id, target_id, signer_user_id, key_id)"
        " DO UPDATE SET signature = excluded.signature WHERE key_signatures.signature <> excluded.signature"
        " RETURNING target_user_id, target_id",
        signatures,
    )
    own = sorted(target_id for user_id, target_id in changed if user_id == signer)
    devices = _devices_among(txn, signer, own)
    if devices:
        publish_devices(txn, signer, devices)
    if len(own) > len(devices):
        txn.publish(Kind.DEVICE_LIST, user_id=signer)
    others = sorted({user_id for user_id, _ in changed} - {signer})
    if others:

        def store(txn: Transaction, position: Position) -> None:
            txn.later(
                "UPDATE key_signatures SET position = %s WHERE signer_user_id = %s AND target_user_id = ANY (%s)",
                (position, signer, others),
            )

        txn.publish(Kind.USER_SIGNATURES, user_id=signer, at_position=store)


def signed_users(txn: Transaction, signer: str, after: int, upto: int) -> set[str]:
    """Whose keys the user signed at after < position <= upto."""
    rows = txn.rows(
        "SELECT DISTINCT target_user_id FROM key_signatures"
        " WHERE signer_user_id = %s AND position > %s AND position <= %s",
        (signer, after, upto),
    )
    return {user_id for (user_id,) in rows}


def _devices_among(txn: Transaction, user_id: str, target_ids: Collection[str]) -> list[str]:
    if not target_ids:
        return []
    rows = txn.rows(
        "SELECT device_id FROM devices WHERE user_id = %s AND device_id = ANY (%s) ORDER BY device_id",
        (user_id, list(target_ids)),
    )
    return [device_id for (device_id,) in rows]
