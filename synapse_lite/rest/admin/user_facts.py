"""What is known of a user: rooms, counts, account data, sessions."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.user_facts import UserFacts
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes

USER = "/_synapse/admin/v1/users/{user_id}"
WHOIS = "/admin/whois/{user_id}"


class UserFactsApi:
    def __init__(self, facts: UserFacts) -> None:
        self._facts = facts

    def routes(self) -> list[Route]:
        return [
            Route("GET", f"{USER}/joined_rooms", self.joined_rooms, Access.ADMIN),
            Route("GET", f"{USER}/memberships", self.memberships, Access.ADMIN),
            Route("GET", f"{USER}/sent_invite_count", self.invite_count, Access.ADMIN),
            Route("GET", f"{USER}/cumulative_joined_room_count", self.joined_room_count, Access.ADMIN),
            Route("GET", f"{USER}/accountdata", self.account_data, Access.ADMIN),
            Route("GET", f"{USER}/pushers", self.pushers, Access.ADMIN),
            Route("GET", "/_synapse/admin/v1/whois/{user_id}", self.whois, Access.USER),
            *client_routes("GET", WHOIS, self.whois, Access.USER, versions=("r0", "v3")),
        ]

    async def joined_rooms(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/users/{user_id}/joined_rooms`"""
        room_ids = await self._facts.joined_rooms(user_id)
        return {"joined_rooms": room_ids, "total": len(room_ids)}

    async def memberships(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/users/{user_id}/memberships`"""
        return {"memberships": await self._facts.memberships(user_id)}

    async def invite_count(self, request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/users/{user_id}/sent_invite_count`"""
        return {"invite_count": await self._facts.invite_count(user_id, request.query_int("from_ts"))}

    async def joined_room_count(self, request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/users/{user_id}/cumulative_joined_room_count`"""
        count = await self._facts.joined_room_count(user_id, request.query_int("from_ts"))
        return {"cumulative_joined_room_count": count}

    async def account_data(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/users/{user_id}/accountdata`"""
        return {"account_data": await self._facts.account_data(user_id)}

    async def pushers(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/users/{user_id}/pushers`"""
        pushers = await self._facts.pushers(user_id)
        return {"pushers": pushers, "total": len(pushers)}

    async def whois(self, _request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/whois/{user_id}`, `GET /_matrix/client/v3/admin/whois/{user_id}`"""
        return await self._facts.whois(requester, user_id)
