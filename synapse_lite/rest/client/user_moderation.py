"""Locking and suspending users by the client-server API ("Server administration")."""

from functools import partial

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.user_admin import UserAdmin
from synapse_lite.handlers.user_facts import UserFacts
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.body import parameter

PATHS = {"locked": "lock", "suspended": "suspend"}


class UserModerationApi:
    def __init__(self, users: UserAdmin, facts: UserFacts) -> None:
        self._users = users
        self._facts = facts

    def routes(self) -> list[Route]:
        routes = []
        for flag, word in PATHS.items():
            path = f"/_matrix/client/v1/admin/{word}/{{user_id}}"
            routes += [
                Route("GET", path, partial(self._get, flag), Access.ADMIN),
                Route("PUT", path, partial(self._put, flag), Access.ADMIN),
            ]
        return routes

    async def _get(self, flag: str, _request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`GET /_matrix/client/v1/admin/lock/{userId}`, `.../suspend/{userId}`"""
        return {flag: (await self._facts.moderation(requester, user_id, changing=False))[flag]}

    async def _put(self, flag: str, request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`PUT /_matrix/client/v1/admin/lock/{userId}`, `.../suspend/{userId}`"""
        value = parameter(request.json_object(), flag, bool)
        await self._facts.moderation(requester, user_id, changing=True)
        await self._users.set_values(user_id, {flag: value})
        return {flag: value}
