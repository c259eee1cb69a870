"""Pushers: the apps to which notifications go."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.push import ENABLED, Pusher, Pushers
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.matrix.experimental_features import PUSHERS_FROM_AFAR
from synapse_lite.rest.body import optional_text, parameter, text

MAX_APP_ID = 64
MAX_PUSHKEY = 512
MAX_NAME = 255


class PushersApi:
    def __init__(self, pushers: Pushers) -> None:
        self._pushers = pushers

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/pushers", self.list, Access.USER),
            *client_routes("POST", "/pushers/set", self.set, Access.USER),
        ]

    async def list(self, _request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/pushers`"""
        remote = PUSHERS_FROM_AFAR in requester.features
        return {"pushers": await self._pushers.all(requester.user_id, tells_devices=remote)}

    async def set(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/pushers/set`"""
        body = request.json_object()
        app_id, pushkey = text(body, "app_id", MAX_APP_ID), text(body, "pushkey", MAX_PUSHKEY)
        if "kind" in body and body["kind"] is None:
            await self._pushers.delete(requester.user_id, app_id, pushkey)
            return {}
        pusher = Pusher(
            requester.user_id,
            app_id,
            pushkey,
            text(body, "kind", MAX_NAME),
            text(body, "app_display_name", MAX_NAME),
            text(body, "device_display_name", MAX_NAME),
            optional_text(body, "profile_tag", MAX_NAME),
            text(body, "lang", MAX_NAME),
            parameter(body, "data", dict),
            requester.device_id,
            parameter(body, ENABLED, bool, None) is not False or PUSHERS_FROM_AFAR not in requester.features,
        )
        await self._pushers.put(pusher, append=bool(parameter(body, "append", bool, None)))
        return {}
