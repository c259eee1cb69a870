"""End-to-end encryption: keys of devices and users, backups of room keys, messages that wait for devices."""

from collections.abc import Sequence
from operator import itemgetter

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.import_synapse.target import BATCH, Import
from synapse_lite.errors import MatrixError, bad_json
from synapse_lite.handlers.federation.sending.messages import TO_DEVICE
from synapse_lite.ids import is_same_server, is_server_name, is_user_id
from synapse_lite.matrix import e2e_keys
from synapse_lite.matrix.e2e_keys import ED25519, UploadedKey
from synapse_lite.storage.cross_signing import USAGES
from synapse_lite.storage.device_keys import KeySignature
from synapse_lite.storage.imported import encryption as ours
from synapse_lite.storage.imported.encryption import (
    ImportedBackup,
    ImportedCrossSigningKey,
    ImportedFallbackKey,
    ImportedKeys,
    ImportedMessage,
    ImportedRoomKey,
)
from synapse_lite.storage.one_time_keys import StoredKey
from synapse_lite.storage.outgoing import OutgoingEdu
from synapse_lite.storage.synapse import encryption as theirs
from synapse_lite.storage.synapse.database import SynapseRow, in_batches

ONE_TIME_KEYS = "one-time keys"
DEVICE = ("user_id", "device_id")
STOCKS_AT_ONCE = 5  # of a hundred keys, mostly


def import_encryption(work: Import) -> None:
    """After the devices. What is known of users of other servers is not needed: it is asked for when it is."""
    _device_keys(work)
    _one_time_keys(work)
    _cross_signing(work)
    _backups(work)
    _messages(work)
    _outgoing_messages(work)


def tell_of_devices(work: Import) -> None:
    """After the rooms: other servers have not heard of these devices, and are told what they are now.

    Of all others they know the present keys. The next change of a user's devices names none before it, as nothing of
    them is in our stream, so that servers ask for all.
    """
    for rows in in_batches(theirs.untold_devices(work.synapse), BATCH):
        devices: dict[str, list[str]] = {}
        for row in rows:
            devices.setdefault(row["user_id"], []).append(row["device_id"])
        with work.transaction() as txn:
            ours.publish_device_lists(txn, devices)


def _device_keys(work: Import) -> None:
    def read(row: SynapseRow) -> tuple[str, str, str]:
        user_id, device_id = work.own(row["user_id"]), row["device_id"]
        keys = canonical_json.decode_object(row["key_json"])
        e2e_keys.check_device_keys(keys, user_id, device_id)
        return user_id, device_id, _signed_by(keys, user_id, {f"{ED25519}:{device_id}"})

    work.take("device keys", theirs.device_keys(work.synapse), DEVICE, read, ours.add_device_keys)


def _one_time_keys(work: Import) -> None:
    """A device's together: once any of them are here, none comes again, as it may have been given out."""

    def read(rows: Sequence[SynapseRow]) -> ImportedKeys | None:
        user_id, device_id = work.own(rows[0]["user_id"]), rows[0]["device_id"]
        keys = [key for row in rows if (key := _readable_key(work, row)) is not None]
        return ImportedKeys(user_id, device_id, keys) if keys else None

    def name(rows: Sequence[SynapseRow]) -> str:
        return " ".join(itemgetter(*DEVICE)(rows[0]))

    def read_fallback(row: SynapseRow) -> ImportedFallbackKey:
        key = _uploaded(row)
        user_id, used = work.own(row["user_id"]), bool(row["used"])
        return ImportedFallbackKey(
            user_id, row["device_id"], key.algorithm, key.key_id, _text(key.value), used
        )

    stocks = theirs.one_time_keys(work.synapse)
    work.take_each(ONE_TIME_KEYS, stocks, name, read, ours.add_one_time_keys, STOCKS_AT_ONCE)
    fallback_keys = theirs.fallback_keys(work.synapse)
    work.take("fallback keys", fallback_keys, (*DEVICE, "algorithm"), read_fallback, ours.add_fallback_keys)


def _readable_key(work: Import, row: SynapseRow) -> StoredKey | None:
    try:
        key = _uploaded(row)
    except MatrixError:
        work.refuse(ONE_TIME_KEYS, " ".join(str(row[column]) for column in (*DEVICE, "algorithm", "key_id")))
        return None
    return StoredKey(key.algorithm, key.key_id, key.key, _text(key.value))


def _uploaded(row: SynapseRow) -> UploadedKey:
    value = canonical_json.decode(row["key_json"])
    (key,) = e2e_keys.read_uploaded_keys({f"{row['algorithm']}:{row['key_id']}": value}, ONE_TIME_KEYS)
    return key


def _cross_signing(work: Import) -> None:
    def read_key(row: SynapseRow) -> ImportedCrossSigningKey | None:
        user_id, usage = row["user_id"], row["keytype"]
        if _is_remote(work, user_id):
            return None
        key = canonical_json.decode_object(row["keydata"])
        if usage not in USAGES:
            raise bad_json("No usage of cross-signing keys")
        public_key = e2e_keys.check_cross_signing_key(key, work.own(user_id), usage)
        until = row.get("updatable_without_uia_before_ms")
        return ImportedCrossSigningKey(user_id, usage, public_key, _signed_by(key, user_id), until)

    def read_signature(row: SynapseRow) -> KeySignature | None:
        if _is_remote(work, row["user_id"]):
            return None
        return KeySignature(
            row["target_user_id"],
            row["target_device_id"],
            work.own(row["user_id"]),
            row["key_id"],
            row["signature"],
        )

    keys = theirs.cross_signing_keys(work.synapse)
    work.take("cross-signing keys", keys, ("user_id", "keytype"), read_key, ours.add_cross_signing_keys)
    signatures = theirs.signatures(work.synapse)
    name = ("user_id", "key_id", "target_user_id", "target_device_id")
    work.take("signatures of keys", signatures, name, read_signature, ours.add_signatures)


def _backups(work: Import) -> None:
    def read(row: SynapseRow) -> ImportedBackup:
        """A deleted one has no keys; its number is not used again."""
        deleted = bool(row["deleted"])
        auth_data = "{}" if deleted else _object(row["auth_data"])
        user_id = work.own(row["user_id"])
        return ImportedBackup(
            user_id, row["version"], row["algorithm"], auth_data, row.get("etag") or 0, deleted
        )

    def read_key(row: SynapseRow) -> ImportedRoomKey:
        return ImportedRoomKey(
            user_id=work.own(row["user_id"]),
            version=row["version"],
            room_id=row["room_id"],
            session_id=row["session_id"],
            is_verified=bool(row["is_verified"]),
            first_message_index=row["first_message_index"] or 0,
            forwarded_count=row["forwarded_count"] or 0,
            session_data=_object(row["session_data"]),
        )

    backups = theirs.backups(work.synapse)
    work.take("key backups", backups, ("user_id", "version"), read, ours.add_backups)
    name = ("user_id", "version", "room_id", "session_id")
    work.take("backed up keys", theirs.room_keys(work.synapse), name, read_key, ours.add_room_keys)


def _messages(work: Import) -> None:
    def read(row: SynapseRow) -> ImportedMessage:
        message = canonical_json.decode_object(row["message_json"])
        sender, kind, content = message["sender"], message["type"], message["content"]
        if not isinstance(sender, str) or not isinstance(kind, str) or not isinstance(content, dict):
            raise bad_json("No message to a device")
        user_id = work.own(row["user_id"])
        return ImportedMessage(user_id, row["device_id"], row["stream_id"], sender, kind, _text(content))

    rows = theirs.messages(work.synapse)
    work.take("waiting messages", rows, (*DEVICE, "stream_id"), read, ours.add_messages)


def _outgoing_messages(work: Import) -> None:
    def read(row: SynapseRow) -> OutgoingEdu:
        """With the id by which the other server knows it, if it has it already."""
        server, content = row["destination"], canonical_json.decode_object(row["messages_json"])
        if not is_server_name(server) or is_same_server(server, work.server_name):
            raise bad_json("No other server")
        if not isinstance(content["messages"], dict):
            raise bad_json("No messages to devices")
        work.own(content["sender"])
        key = f"{TO_DEVICE} {content['message_id']}"
        return OutgoingEdu([server], TO_DEVICE, content, key)

    rows = theirs.outgoing_messages(work.synapse)
    name = ("destination", "stream_id")
    work.take("messages to other servers", rows, name, read, ours.add_outgoing_messages)


def _signed_by(value: JsonObject, user_id: str, only: set[str] | None = None) -> str:
    """With the signatures of its owner, of these keys only, if given; those of others are rows of their own."""
    signatures = value.get("signatures", {}).get(user_id, {})
    kept = {name: part for name, part in value.items() if name not in {"unsigned", "signatures"}}
    own = {name: text for name, text in signatures.items() if only is None or name in only}
    return _text({**kept, "signatures": {user_id: own}} if own else kept)


def _is_remote(work: Import, user_id: str) -> bool:
    return is_user_id(user_id) and user_id.partition(":")[2] != work.server_name


def _object(text: str) -> str:
    return _text(canonical_json.decode_object(text))


def _text(value: str | JsonObject) -> str:
    return canonical_json.encode(value).decode()
