"""Messages to devices."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json, invalid_param
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.to_device import ToDevice
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.ids import is_user_id
from synapse_lite.rest.body import MAX_DEVICE_ID, parameter

MAX_MESSAGES = 10_000
MAX_BODY = 8 * 1024 * 1024
MAX_TYPE = 255
MAX_TXN_ID = 255


class ToDeviceApi:
    def __init__(self, to_device: ToDevice) -> None:
        self._to_device = to_device

    def routes(self) -> list[Route]:
        path = "/sendToDevice/{message_type}/{txn_id}"
        return client_routes("PUT", path, self.send, Access.GUEST, max_body=MAX_BODY)

    async def send(
        self, request: Request, requester: Requester, message_type: str, txn_id: str
    ) -> JsonObject:
        """`PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}`"""
        if len(message_type) > MAX_TYPE or len(txn_id) > MAX_TXN_ID:
            raise invalid_param("The event type or the transaction ID is too long")
        messages = parameter(request.json_object(), "messages", dict)
        too_many = invalid_param(f"More than {MAX_MESSAGES} messages in one request")
        if len(messages) > MAX_MESSAGES:
            raise too_many
        for user_id, devices in messages.items():
            _check(user_id, devices)
        if sum(map(len, messages.values())) > MAX_MESSAGES:
            raise too_many
        await self._to_device.send(requester, message_type, txn_id, messages)
        return {}


def _check(user_id: str, devices: object) -> None:
    if not is_user_id(user_id):
        raise invalid_param(f"Invalid user ID: {user_id[:80]!r}")
    if not isinstance(devices, dict):
        raise bad_json("The messages of a user must be given by device")
    for device_id, content in devices.items():
        if len(device_id) > MAX_DEVICE_ID or "\0" in device_id:
            raise invalid_param("Invalid device ID")
        if not isinstance(content, dict):
            raise bad_json("The content of a message must be an object")
