"""What other servers are told beside events (server-server API, "EDUs"), of changes in the stream."""

from collections.abc import Iterator, Mapping, Sequence

import orjson
from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.federation.sending.recipients import Recipients
from synapse_lite.handlers.public_keys import UserKeys, read_user_keys
from synapse_lite.ids import is_local
from synapse_lite.storage.cross_signing import MASTER, SELF_SIGNING
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.device_lists import changed_devices, joined_rooms, last_change
from synapse_lite.storage.ephemeral import changed_receipt, changed_typing
from synapse_lite.storage.outgoing import OutgoingEdu
from synapse_lite.storage.room_servers import all_servers
from synapse_lite.storage.rooms import rooms_by_nid
from synapse_lite.storage.stream import Change, Kind

KINDS = frozenset({Kind.TYPING, Kind.RECEIPT, Kind.DEVICE_LIST})
PUBLIC_RECEIPT = "m.read"


@frozen
class EphemeralEdus:
    """Typing and public receipts of our users."""

    recipients: Recipients

    def __call__(self, txn: Transaction, changes: Sequence[Change]) -> list[OutgoingEdu]:
        told = [change for change in changes if self._is_ours(change)]
        rooms = {change.room_nid for change in told if change.room_nid is not None}
        servers = {room_nid: self.recipients.among(all_servers(txn, room_nid)) for room_nid in rooms}
        known = rooms_by_nid(txn, [room_nid for room_nid in rooms if servers[room_nid]])
        return [
            edu
            for change in told
            if (nid := change.room_nid or 0) in known
            for edu in self._edus(change, known[nid].room_id, servers[nid])
        ]

    def _edus(self, change: Change, room_id: str, servers: Sequence[str]) -> Iterator[OutgoingEdu]:
        if change.kind is Kind.RECEIPT:
            yield _receipt(change, room_id, servers)
            return
        for user_id, is_typing in self._typing(change).items():
            content = {"room_id": room_id, "user_id": user_id, "typing": is_typing}
            key = f"typing {room_id} {user_id}"
            yield OutgoingEdu(servers, "m.typing", content, key, change.room_nid, is_passing=True)

    def _typing(self, change: Change) -> dict[str, bool]:
        name = self.recipients.server_name
        return {
            user_id: typing for user_id, typing in changed_typing(change).items() if is_local(user_id, name)
        }

    def _is_ours(self, change: Change) -> bool:
        if change.kind is Kind.TYPING:
            return bool(self._typing(change))
        return (
            change.kind is Kind.RECEIPT
            and is_local(change.user_id or "", self.recipients.server_name)
            and changed_receipt(change).receipt_type == PUBLIC_RECEIPT
        )


def _receipt(change: Change, room_id: str, servers: Sequence[str]) -> OutgoingEdu:
    receipt = changed_receipt(change)
    data: JsonObject = {"ts": receipt.ts}
    if receipt.thread_id:
        data["thread_id"] = receipt.thread_id
    read = {receipt.user_id: {"event_ids": [receipt.event_id], "data": data}}
    key = f"receipt {room_id} {receipt.user_id} {receipt.thread_id}"
    content = {room_id: {PUBLIC_RECEIPT: read}}
    return OutgoingEdu(servers, "m.receipt", content, key, change.room_nid, is_passing=True)


@frozen
class DeviceListEdus:
    """Devices and cross-signing keys of our users, for the servers that share a room with them.

    An update names the one before it. Who does not know that one asks for the whole list, which is what is wanted: also
    when an update has given way to a later one of the same device.
    """

    recipients: Recipients

    def __call__(self, txn: Transaction, changes: Sequence[Change]) -> list[OutgoingEdu]:
        by_user: dict[str, list[Change]] = {}
        for change in changes:
            if change.kind is Kind.DEVICE_LIST and is_local(
                change.user_id or "", self.recipients.server_name
            ):
                by_user.setdefault(change.user_id or "", []).append(change)
        servers = {user_id: self._sharing(txn, user_id) for user_id in by_user}
        told = [user_id for user_id, some in servers.items() if some]
        if not told:
            return []
        keys = read_user_keys(txn, told)
        return [
            edu
            for user_id in told
            for edu in _device_edus(txn, user_id, by_user[user_id], keys[user_id], servers[user_id])
        ]

    def _sharing(self, txn: Transaction, user_id: str) -> list[str]:
        rooms = joined_rooms(txn, user_id)
        return self.recipients.among(
            sorted({name for room_nid in rooms for name in all_servers(txn, room_nid)})
        )


def _device_edus(
    txn: Transaction, user_id: str, changes: Sequence[Change], keys: UserKeys, servers: Sequence[str]
) -> Iterator[OutgoingEdu]:
    if any(changed_devices(change) is None for change in changes):
        content = {"user_id": user_id, **_signing_keys(keys.cross_signing)}
        yield OutgoingEdu(servers, "m.signing_key_update", content, f"signing {user_id}")
    latest = {device_id: change.position for change in changes for device_id in changed_devices(change) or ()}
    devices = keys.by_device()
    previous = last_change(txn, user_id, min(latest.values(), default=0))
    for device_id, position in latest.items():
        content = {
            "user_id": user_id,
            "device_id": device_id,
            "stream_id": position,
            "prev_id": [previous] if previous else [],
        }
        if device_id in devices:
            content["keys"] = devices[device_id]
        else:
            content["deleted"] = True
        yield OutgoingEdu(servers, "m.device_list_update", content, f"device {user_id} {device_id}")
        previous = position


def _signing_keys(keys: Mapping[str, str]) -> JsonObject:
    names = {MASTER: "master_key", SELF_SIGNING: "self_signing_key"}
    return {name: orjson.loads(keys[usage]) for usage, name in names.items() if usage in keys}
