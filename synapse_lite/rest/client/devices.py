"""One's own devices."""

import hashlib

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.devices import Devices
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.uia import PASSWORD, InteractiveAuth
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.body import MAX_DEVICE_ID, optional_text, parameter, text_list

MAX_NAME = 512
MAX_DELETED = 1000
_SHOWN = ("device_id", "display_name", "last_seen_ip", "last_seen_ts", "user_id")


class DevicesApi:
    def __init__(self, devices: Devices, auth: InteractiveAuth) -> None:
        self._devices = devices
        self._auth = auth

    def routes(self) -> list[Route]:
        one = "/devices/{device_id}"
        return [
            *client_routes("GET", "/devices", self.devices, Access.GUEST),
            *client_routes("GET", one, self.device, Access.GUEST),
            *client_routes("PUT", one, self.rename, Access.GUEST),
            *client_routes("DELETE", one, self.delete, Access.USER),
            *client_routes("POST", "/delete_devices", self.delete_several, Access.USER),
        ]

    async def devices(self, _request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/devices`"""
        devices = await self._devices.all(requester.user_id)
        return {"devices": [_shown(device) for device in devices]}

    async def device(self, _request: Request, requester: Requester, device_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/devices/{deviceId}`"""
        return _shown(await self._devices.get(requester.user_id, device_id))

    async def rename(self, request: Request, requester: Requester, device_id: str) -> JsonObject | Response:
        """`PUT /_matrix/client/v3/devices/{deviceId}`: an application service makes the device where it is not there"""
        name = optional_text(request.json_object(), "display_name", MAX_NAME)
        if requester.service is not None:
            if len(device_id) > MAX_DEVICE_ID:
                raise invalid_param("The device ID is too long")
            made = await self._devices.put(requester.user_id, device_id, name)
            return Response(201 if made else 200, b"{}")
        await self._devices.rename(requester.user_id, device_id, name)
        return {}

    async def delete(self, request: Request, requester: Requester, device_id: str) -> JsonObject | Response:
        """`DELETE /_matrix/client/v3/devices/{deviceId}`"""
        return await self._delete(request.json_object(allow_empty=True), requester, [device_id])

    async def delete_several(self, request: Request, requester: Requester) -> JsonObject | Response:
        """`POST /_matrix/client/v3/delete_devices`"""
        body = request.json_object()
        return await self._delete(
            body, requester, text_list(body, "devices", longest=MAX_DEVICE_ID, most=MAX_DELETED)
        )

    async def _delete(
        self, body: JsonObject, requester: Requester, device_ids: list[str]
    ) -> JsonObject | Response:
        names = hashlib.sha256("\0".join(sorted(set(device_ids))).encode()).hexdigest()
        challenge = await self._auth.check_lately(
            f"delete devices {names} of {requester.user_id}",
            parameter(body, "auth", dict, None),
            [(PASSWORD,)],
            requester,
        )
        if challenge is not None:
            return Response(401, challenge.body())
        await self._devices.delete(requester.user_id, device_ids)
        return {}


def _shown(device: JsonObject) -> JsonObject:
    return {key: device[key] for key in _SHOWN}
