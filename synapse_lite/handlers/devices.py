"""A user's devices, for their owner and for administrators."""

from collections.abc import Collection

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.ids import check_user_id, is_local
from synapse_lite.storage import devices
from synapse_lite.storage.accounts import find_account
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.devices import Device
from synapse_lite.tasks.actions.delete_device_messages import delete_devices

MAX_DISPLAY_NAME = 100
"""Characters, as in Synapse."""


class Devices:
    """Deleting a device ends its session, and everything that was stored for it."""

    def __init__(self, database: Database, clock: Clock, server_name: str) -> None:
        self._database = database
        self._clock = clock
        self._server_name = server_name

    async def check_user(self, user_id: str) -> None:
        """400 for no user id and for a user of another server, 404 `M_NOT_FOUND` for one that does not exist."""
        if not is_local(check_user_id(user_id), self._server_name):
            raise MatrixError(400, Errcode.UNKNOWN, "Can only lookup local users")
        account = await self._database.read(find_account, user_id)
        if account is None or account.user_id != user_id:
            raise not_found("Unknown user")

    async def all(self, user_id: str) -> list[JsonObject]:
        """By id; as `describe`."""
        return [describe(device) for device in await self._database.read(devices.read_devices, user_id)]

    async def get(self, user_id: str, device_id: str) -> JsonObject:
        """As `describe`; 404 `M_NOT_FOUND` for an unknown device."""
        device = await self._database.read(devices.find_device, user_id, device_id)
        if device is None:
            raise _unknown_device()
        return describe(device)

    async def rename(self, user_id: str, device_id: str, display_name: str | None) -> None:
        """None leaves the name. 404 `M_NOT_FOUND`; 400 `M_TOO_LARGE` for a name that is too long."""
        if display_name is None:
            await self.get(user_id, device_id)
            return
        _check_display_name(display_name)
        if not await self._database.transact(devices.rename_device, user_id, device_id, display_name):
            raise _unknown_device()

    async def put(self, user_id: str, device_id: str, display_name: str | None) -> bool:
        """As `rename`, but a device that is not there is made, without a session: True."""
        _check_display_name(display_name)
        now_ms = self._clock.now_ms()
        return await self._database.transact(_put, user_id, device_id, display_name, now_ms)

    async def create(self, user_id: str, device_id: str) -> None:
        """A device without a session; nothing happens when it exists."""
        await self._database.transact(devices.create_device, user_id, device_id, None, self._clock.now_ms())

    async def delete(self, user_id: str, device_ids: Collection[str]) -> None:
        """Unknown ones are none to delete."""
        await self._database.transact(delete_devices, user_id, device_ids)


def _put(txn: Transaction, user_id: str, device_id: str, display_name: str | None, now_ms: int) -> bool:
    if devices.create_device(txn, user_id, device_id, display_name, now_ms):
        return True
    if display_name is not None:
        devices.rename_device(txn, user_id, device_id, display_name)
    return False


def _check_display_name(name: str | None) -> None:
    if name is not None and len(name) > MAX_DISPLAY_NAME:
        raise MatrixError(400, Errcode.TOO_LARGE, f"Device display name is too long (max {MAX_DISPLAY_NAME})")


def describe(device: Device) -> JsonObject:
    """All that is known of a device; times are milliseconds since 1970, null for what never happened."""
    return {
        "user_id": device.user_id,
        "device_id": device.device_id,
        "display_name": device.display_name,
        "last_seen_ts": device.last_seen_ts,
        "last_seen_ip": device.last_seen_ip,
        "last_seen_user_agent": device.last_seen_user_agent,
        "dehydrated": device.is_dehydrated,
    }


def _unknown_device() -> MatrixError:
    return not_found("No device found")
