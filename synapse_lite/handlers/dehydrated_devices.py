"""Dehydrated devices (MSC3814): they receive keys while their owner is logged in nowhere."""

import orjson
from attrs import frozen

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError, forbidden, invalid_param, not_found, too_large
from synapse_lite.handlers.device_keys import Upload, check_upload, store_upload
from synapse_lite.handlers.inboxes import MAX_DELIVERED, MAX_DELIVERED_BYTES
from synapse_lite.handlers.tokens import read_token, write_token
from synapse_lite.storage import dehydrated_devices, devices
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import END, Place
from synapse_lite.storage.to_device import Address, read_messages
from synapse_lite.tasks.actions.delete_device_messages import delete_devices

MAX_DEVICE_DATA_BYTES = 64 * 1024


@frozen
class NewDehydratedDevice:
    device_id: str
    device_data: JsonObject
    display_name: str | None
    upload: Upload


class DehydratedDevices:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def put(self, user_id: str, new: NewDehydratedDevice) -> None:
        """In place of the earlier one, with its keys, in one transaction.

        413 `M_TOO_LARGE` for its data, 400 `M_INVALID_PARAM` when a device with a session has that id, and what
        `DeviceKeys.upload` raises.
        """
        data = canonical_json.encode(new.device_data)
        if len(data) > MAX_DEVICE_DATA_BYTES:
            raise too_large(f"device_data is larger than {MAX_DEVICE_DATA_BYTES} bytes")
        await self._database.transact(_put, user_id, new, data.decode(), self._clock.now_ms())

    async def get(self, user_id: str) -> JsonObject:
        """Its id and data; 404 `M_NOT_FOUND`."""
        found = await self._database.read(dehydrated_devices.find_dehydrated, user_id)
        if found is None:
            raise _none()
        return {"device_id": found.device_id, "device_data": orjson.Fragment(found.device_data)}

    async def delete(self, user_id: str) -> str:
        """Its id; 404 `M_NOT_FOUND`."""
        return await self._database.transact(_delete, user_id)

    async def events(self, user_id: str, device_id: str, after: str | None) -> JsonObject:
        """Messages to it, oldest first, and `next_batch` while there are any. Reading deletes nothing.

        403 `M_FORBIDDEN` for another device than the user's present dehydrated one.
        """
        position = 0 if after is None else read_token(after).whole
        return await self._database.snapshot(_events, Address(user_id, device_id), position)


def _put(txn: Transaction, user_id: str, new: NewDehydratedDevice, data: str, now_ms: int) -> None:
    devices.lock_owner(txn, user_id)
    old = dehydrated_devices.find_dehydrated(txn, user_id)
    if old is not None:
        delete_devices(txn, user_id, [old.device_id])
    if not devices.create_device(txn, user_id, new.device_id, new.display_name, now_ms):
        raise invalid_param("A device with a session has that ID")
    dehydrated_devices.mark_dehydrated(txn, user_id, new.device_id, data)
    check_upload(txn, user_id, new.device_id, new.upload)
    store_upload(txn, user_id, new.device_id, new.upload)


def _delete(txn: Transaction, user_id: str) -> str:
    found = dehydrated_devices.find_dehydrated(txn, user_id)
    if found is None:
        raise _none()
    delete_devices(txn, user_id, [found.device_id])
    return found.device_id


def _events(txn: Transaction, address: Address, after: int) -> JsonObject:
    found = dehydrated_devices.find_dehydrated(txn, address.user_id)
    if found is None or found.device_id != address.device_id:
        raise forbidden("You may only fetch messages for your dehydrated device")
    messages, _ = read_messages(
        txn, address, after=after, upto=END, limit=MAX_DELIVERED, max_bytes=MAX_DELIVERED_BYTES
    )
    answer: JsonObject = {"events": [message.event() for message in messages]}
    return {**answer, "next_batch": write_token(Place(messages[-1].position))} if messages else answer


def _none() -> MatrixError:
    return not_found("No dehydrated device available")
