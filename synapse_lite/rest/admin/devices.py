"""Devices of users, for administrators."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param, not_found
from synapse_lite.handlers.cross_signing import CrossSigning
from synapse_lite.handlers.devices import Devices
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route
from synapse_lite.rest.body import MAX_DEVICE_ID, optional_text, text, text_list
from synapse_lite.rest.client.devices import MAX_DELETED, MAX_NAME

PATH = "/_synapse/admin/v2/users/{user_id}"
CROSS_SIGNING_PATH = "/_synapse/admin/v1/users/{user_id}/_allow_cross_signing_replacement_without_uia"


class AdminDevicesApi:
    def __init__(self, devices: Devices, cross_signing: CrossSigning) -> None:
        self._devices = devices
        self._cross_signing = cross_signing

    def routes(self) -> list[Route]:
        devices, one = f"{PATH}/devices", f"{PATH}/devices/{{device_id}}"
        return [
            Route("GET", devices, self.devices, Access.ADMIN),
            Route("POST", devices, self.create, Access.ADMIN),
            Route("GET", one, self.device, Access.ADMIN),
            Route("PUT", one, self.rename, Access.ADMIN),
            Route("DELETE", one, self.delete, Access.ADMIN),
            Route("POST", f"{PATH}/delete_devices", self.delete_several, Access.ADMIN),
            Route("POST", CROSS_SIGNING_PATH, self.allow_replacement, Access.ADMIN),
        ]

    async def devices(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v2/users/{user_id}/devices`"""
        await self._devices.check_user(user_id)
        devices = await self._devices.all(user_id)
        sleeps = any(device["dehydrated"] for device in devices)
        shown = [device if sleeps else _awake(device) for device in devices]
        return {"devices": shown, "total": len(shown)}

    async def create(self, request: Request, _requester: Requester, user_id: str) -> Response:
        """`POST /_synapse/admin/v2/users/{user_id}/devices`"""
        await self._devices.check_user(user_id)
        device_id = text(request.json_object(), "device_id", MAX_DEVICE_ID)
        if not device_id:
            raise invalid_param("A device id must not be empty")
        await self._devices.create(user_id, device_id)
        return Response(201, {})

    async def device(
        self, _request: Request, _requester: Requester, user_id: str, device_id: str
    ) -> JsonObject:
        """`GET /_synapse/admin/v2/users/{user_id}/devices/{device_id}`"""
        await self._devices.check_user(user_id)
        return _awake(await self._devices.get(user_id, device_id))

    async def rename(
        self, request: Request, _requester: Requester, user_id: str, device_id: str
    ) -> JsonObject:
        """`PUT /_synapse/admin/v2/users/{user_id}/devices/{device_id}`"""
        await self._devices.check_user(user_id)
        name = optional_text(request.json_object(allow_empty=True), "display_name", MAX_NAME)
        await self._devices.rename(user_id, device_id, name)
        return {}

    async def delete(
        self, _request: Request, _requester: Requester, user_id: str, device_id: str
    ) -> JsonObject:
        """`DELETE /_synapse/admin/v2/users/{user_id}/devices/{device_id}`"""
        await self._devices.check_user(user_id)
        await self._devices.delete(user_id, [device_id])
        return {}

    async def delete_several(self, request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`POST /_synapse/admin/v2/users/{user_id}/delete_devices`"""
        await self._devices.check_user(user_id)
        names = text_list(request.json_object(), "devices", longest=MAX_DEVICE_ID, most=MAX_DELETED)
        await self._devices.delete(user_id, names)
        return {}

    async def allow_replacement(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/users/{user_id}/_allow_cross_signing_replacement_without_uia`"""
        until_ms = await self._cross_signing.allow_replacement(user_id)
        if until_ms is None:
            raise not_found("User has no master cross-signing key")
        return {"updatable_without_uia_before_ms": until_ms}


def _awake(device: JsonObject) -> JsonObject:
    return {key: value for key, value in device.items() if key != "dehydrated"}
