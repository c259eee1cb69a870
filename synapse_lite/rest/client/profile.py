"""Profiles."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import missing_param
from synapse_lite.handlers.profiles import Profiles
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.ids import check_user_id
from synapse_lite.rest.gate import Gate


class ProfileApi:
    """`require_token`: only who is logged in may read profiles."""

    def __init__(self, gate: Gate, profiles: Profiles, *, require_token: bool) -> None:
        self._gate = gate
        self._profiles = profiles
        self._require_token = require_token

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/profile/{user_id}", self.profile),
            *client_routes("GET", "/profile/{user_id}/{name}", self.field),
            *client_routes("PUT", "/profile/{user_id}/{name}", self.set_field),
            *client_routes("DELETE", "/profile/{user_id}/{name}", self.delete_field),
        ]

    async def profile(self, request: Request, user_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/profile/{userId}`"""
        await self._check_reader(request)
        return await self._profiles.profile(check_user_id(user_id))

    async def field(self, request: Request, user_id: str, name: str) -> JsonObject:
        """`GET /_matrix/client/v3/profile/{userId}/{keyName}`"""
        await self._check_reader(request)
        return await self._profiles.field(check_user_id(user_id), name)

    async def set_field(self, request: Request, user_id: str, name: str) -> JsonObject:
        """`PUT /_matrix/client/v3/profile/{userId}/{keyName}`"""
        requester = await self._gate.requester(request, allow_guest=True)
        body = request.json_object()
        if name not in body:
            raise missing_param(name)
        await self._profiles.set_field(requester, check_user_id(user_id), name, body[name])
        return {}

    async def delete_field(self, request: Request, user_id: str, name: str) -> JsonObject:
        """`DELETE /_matrix/client/v3/profile/{userId}/{keyName}`"""
        requester = await self._gate.requester(request, allow_guest=True)
        await self._profiles.delete_field(requester, check_user_id(user_id), name)
        return {}

    async def _check_reader(self, request: Request) -> None:
        if self._require_token:
            await self._gate.requester(request, allow_guest=True)
