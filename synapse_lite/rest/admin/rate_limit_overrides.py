"""Limits of single users, for administrators."""

from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.rate_limit_overrides import RateLimitOverrides
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route

PATH = "/_synapse/admin/v1/users/{user_id}/override_ratelimit"
MOST = 2**31 - 1


class RateLimitOverridesApi:
    def __init__(self, overrides: RateLimitOverrides) -> None:
        self._overrides = overrides

    def routes(self) -> list[Route]:
        return [
            Route("GET", PATH, self.get, Access.ADMIN),
            Route("POST", PATH, self.put, Access.ADMIN),
            Route("DELETE", PATH, self.delete, Access.ADMIN),
        ]

    async def get(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/users/{user_id}/override_ratelimit`"""
        return await self._overrides.get(user_id)

    async def put(self, request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/users/{user_id}/override_ratelimit`"""
        body = request.json_object(allow_empty=True)
        return await self._overrides.put(
            user_id, _count(body, "messages_per_second"), _count(body, "burst_count")
        )

    async def delete(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`DELETE /_synapse/admin/v1/users/{user_id}/override_ratelimit`"""
        await self._overrides.delete(user_id)
        return {}


def _count(body: JsonObject, name: str) -> int:
    value: Any = body.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
        raise invalid_param(f"{name} parameter must be an integer of 0 to {MOST}")
    return value
