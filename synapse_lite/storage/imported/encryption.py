"""Keys of devices and users, backups of room keys, and messages that wait for devices."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.device_keys import KeySignature
from synapse_lite.storage.device_lists import publish_devices
from synapse_lite.storage.imported.rows import add_new
from synapse_lite.storage.one_time_keys import StoredKey, add_keys
from synapse_lite.storage.outgoing import OutgoingEdu, enqueue


class ImportedKeys(NamedTuple):
    """All one-time keys of a device, in the order in which they are to be given out."""

    user_id: str
    device_id: str
    keys: Sequence[StoredKey]


class ImportedFallbackKey(NamedTuple):
    user_id: str
    device_id: str
    algorithm: str
    key_id: str
    json: str
    used: bool


class ImportedCrossSigningKey(NamedTuple):
    user_id: str
    usage: str
    public_key: str
    json: str
    replaceable_until_ts: int | None


class ImportedBackup(NamedTuple):
    user_id: str
    version: int
    algorithm: str
    auth_data: str
    etag: int
    deleted: bool


class ImportedRoomKey(NamedTuple):
    """`session_data` is JSON."""

    user_id: str
    version: int
    room_id: str
    session_id: str
    is_verified: bool
    first_message_index: int
    forwarded_count: int
    session_data: str


class ImportedMessage(NamedTuple):
    """`content` is JSON. `position`: the other server's; the messages of a device are in its order."""

    user_id: str
    device_id: str
    position: int
    sender: str
    type: str
    content: str


def add_device_keys(txn: Transaction, rows: Sequence[tuple[str, str, str]]) -> int:
    """User, device, JSON."""
    return len(add_new(txn, "device_keys", "user_id, device_id, json", rows))


def add_one_time_keys(txn: Transaction, devices: Sequence[ImportedKeys]) -> int:
    """Of devices that never had any here: of others some may have been given out. How many keys came."""
    pairs = [[one.user_id for one in devices], [one.device_id for one in devices]]
    stocked = txn.rows(
        "SELECT DISTINCT user_id, device_id FROM key_stocks"
        " JOIN unnest(%s::text[], %s::text[]) AS wanted (user_id, device_id) USING (user_id, device_id)",
        pairs,
    )
    new = [one for one in devices if one[:2] not in set(stocked)]
    for one in new:
        add_keys(txn, *one)
    return sum(len(one.keys) for one in new)


def add_fallback_keys(txn: Transaction, keys: Sequence[ImportedFallbackKey]) -> int:
    return len(add_new(txn, "fallback_keys", ", ".join(ImportedFallbackKey._fields), keys))


def add_cross_signing_keys(txn: Transaction, keys: Sequence[ImportedCrossSigningKey]) -> int:
    return len(add_new(txn, "cross_signing_keys", ", ".join(ImportedCrossSigningKey._fields), keys))


def add_signatures(txn: Transaction, signatures: Sequence[KeySignature]) -> int:
    return len(add_new(txn, "key_signatures", ", ".join(KeySignature._fields), signatures))


def add_backups(txn: Transaction, backups: Sequence[ImportedBackup]) -> int:
    return len(add_new(txn, "key_backups", ", ".join(ImportedBackup._fields), backups))


def add_room_keys(txn: Transaction, keys: Sequence[ImportedRoomKey]) -> int:
    """Into backups that are here, which count them."""
    columns = ", ".join(ImportedRoomKey._fields)
    new = add_new(txn, "key_backup_sessions", columns, keys, "user_id, version")
    txn.insert(
        "UPDATE key_backups AS backup SET count = count + new.keys FROM (VALUES %s) AS new (user_id, version, keys)"
        " WHERE (backup.user_id, backup.version) = (new.user_id, new.version)",
        [(*backup, keys) for backup, keys in Counter(new).items()],
    )
    txn.finish()
    return len(new)


def add_messages(txn: Transaction, messages: Sequence[ImportedMessage]) -> int:
    """For devices that are here. The stream must be behind all positions before anybody reads them."""
    rows = txn.fetch_values(
        "INSERT INTO device_inbox (user_id, device_id, position, sender, type, content)"
        " SELECT new.* FROM (VALUES %s) AS new (user_id, device_id, position, sender, type, content)"
        " JOIN devices USING (user_id, device_id) ON CONFLICT DO NOTHING RETURNING 1",
        messages,
    )
    return len(rows)


def add_outgoing_messages(txn: Transaction, messages: Sequence[OutgoingEdu]) -> int:
    """Each has a key of its own, so that it is there once however often it is added."""
    enqueue(txn, [], messages)
    return len(messages)


def publish_device_lists(txn: Transaction, devices: Mapping[str, Sequence[str]]) -> None:
    """Other servers hear of these devices of these users, and ask for all."""
    for user_id, device_ids in devices.items():
        publish_devices(txn, user_id, device_ids)
