"""Profiles."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import missing_param
from synapse_lite.handlers.profiles import Profiles
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.ids import check_user_id


class ProfileApi:
    """`require_token`: only who is logged in may read profiles; those of users of other servers always."""

    def __init__(self, profiles: Profiles, *, require_token: bool) -> None:
        self._profiles = profiles
        self._read_access = Access.GUEST if require_token else Access.OPTIONAL

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/profile/{user_id}", self.profile, self._read_access),
            *client_routes("GET", "/profile/{user_id}/{name}", self.field, self._read_access),
            *client_routes("PUT", "/profile/{user_id}/{name}", self.set_field, Access.GUEST),
            *client_routes("DELETE", "/profile/{user_id}/{name}", self.delete_field, Access.GUEST),
        ]

    async def profile(self, _request: Request, requester: Requester | None, user_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/profile/{userId}`"""
        return await self._profiles.profile(requester, check_user_id(user_id))

    async def field(
        self, _request: Request, requester: Requester | None, user_id: str, name: str
    ) -> JsonObject:
        """`GET /_matrix/client/v3/profile/{userId}/{keyName}`"""
        return await self._profiles.field(requester, check_user_id(user_id), name)

    async def set_field(self, request: Request, requester: Requester, user_id: str, name: str) -> JsonObject:
        """`PUT /_matrix/client/v3/profile/{userId}/{keyName}`"""
        body = request.json_object()
        if name not in body:
            raise missing_param(name)
        await self._profiles.set_field(requester, check_user_id(user_id), name, body[name])
        return {}

    async def delete_field(
        self, _request: Request, requester: Requester, user_id: str, name: str
    ) -> JsonObject:
        """`DELETE /_matrix/client/v3/profile/{userId}/{keyName}`"""
        await self._profiles.delete_field(requester, check_user_id(user_id), name)
        return {}
