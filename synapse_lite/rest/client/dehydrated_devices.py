"""Dehydrated devices (MSC3814, unstable)."""

from synapse_lite.canonical_json import JsonObject, check_canonical
from synapse_lite.handlers.dehydrated_devices import DehydratedDevices, NewDehydratedDevice
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.body import MAX_DEVICE_ID, MAX_DEVICE_NAME, optional_text, parameter, text
from synapse_lite.rest.client.device_keys import MAX_BODY, read_upload

PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
MAX_TOKEN = 64
MAX_ALGORITHM = 255


class DehydratedDevicesApi:
    """`uploads` is asked before a body is parsed and its signatures are checked."""

    def __init__(self, devices: DehydratedDevices, uploads: RateLimiter) -> None:
        self._uploads = uploads
        self._devices = devices

    def routes(self) -> list[Route]:
        events = f"{PATH}/{{device_id}}/events"
        return [
            Route("PUT", PATH, self.put, Access.USER, MAX_BODY),
            Route("GET", PATH, self.get, Access.USER),
            Route("DELETE", PATH, self.delete, Access.USER),
            Route("GET", events, self.events_after, Access.USER),
            Route("POST", events, self.events, Access.USER),
        ]

    async def put(self, request: Request, requester: Requester) -> JsonObject:
        """`PUT /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`"""
        await check_user(self._uploads, requester)
        body = request.json_object()
        device_id = text(body, "device_id", MAX_DEVICE_ID)
        device_data = parameter(body, "device_data", dict)
        check_canonical(device_data)
        text(device_data, "algorithm", MAX_ALGORITHM)
        parameter(body, "device_keys", dict)
        new = NewDehydratedDevice(
            device_id,
            device_data,
            optional_text(body, "initial_device_display_name", MAX_DEVICE_NAME),
            read_upload(body, requester.user_id, device_id),
        )
        await self._devices.put(requester.user_id, new)
        return {"device_id": device_id}

    async def get(self, _request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`"""
        return await self._devices.get(requester.user_id)

    async def delete(self, _request: Request, requester: Requester) -> JsonObject:
        """`DELETE /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`"""
        return {"device_id": await self._devices.delete(requester.user_id)}

    async def events(self, request: Request, requester: Requester, device_id: str) -> JsonObject:
        """`POST /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events`"""
        after = optional_text(request.json_object(allow_empty=True), "next_batch", MAX_TOKEN)
        return await self._devices.events(requester.user_id, device_id, after)

    async def events_after(self, request: Request, requester: Requester, device_id: str) -> JsonObject:
        """`GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events`"""
        return await self._devices.events(requester.user_id, device_id, request.query("next_batch"))
