"""Account data, tags of rooms, and filters."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.account_data import MAX_CONTENT_BYTES, AccountData
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes

DELETION = ("unstable/org.matrix.msc3391",)
_NO_DATA = "Cannot get or add account data for other users."
_NO_TAGS = "Cannot get or add tags for other users."
_NO_FILTERS = "Cannot get or create filters for others"


class AccountDataApi:
    def __init__(self, account_data: AccountData) -> None:
        self._account_data = account_data

    def routes(self) -> list[Route]:
        data = "/user/{user_id}/account_data/{data_type}"
        room = "/user/{user_id}/rooms/{room_id}"
        room_data = f"{room}/account_data/{{data_type}}"
        return [
            *client_routes("GET", data, self.content, Access.GUEST),
            *client_routes("PUT", data, self.put, Access.GUEST, max_body=MAX_CONTENT_BYTES),
            *client_routes("GET", room_data, self.content, Access.GUEST),
            *client_routes("PUT", room_data, self.put, Access.GUEST, max_body=MAX_CONTENT_BYTES),
            *client_routes("DELETE", data, self.delete, Access.GUEST, versions=DELETION),
            *client_routes("DELETE", room_data, self.delete, Access.GUEST, versions=DELETION),
            *client_routes("GET", f"{room}/tags", self.tags, Access.GUEST),
            *client_routes("PUT", f"{room}/tags/{{tag}}", self.put_tag, Access.GUEST),
            *client_routes("DELETE", f"{room}/tags/{{tag}}", self.delete_tag, Access.GUEST),
            *client_routes("POST", "/user/{user_id}/filter", self.add_filter, Access.GUEST),
            *client_routes("GET", "/user/{user_id}/filter/{filter_id}", self.filter, Access.GUEST),
        ]

    async def content(
        self,
        _request: Request,
        requester: Requester,
        user_id: str,
        data_type: str,
        room_id: str | None = None,
    ) -> JsonObject:
        """`GET /_matrix/client/v3/user/{userId}/account_data/{type}`, also with `/rooms/{roomId}`"""
        requester.check_is(user_id, _NO_DATA)
        return await self._account_data.content(user_id, room_id, data_type)

    async def put(
        self, request: Request, requester: Requester, user_id: str, data_type: str, room_id: str | None = None
    ) -> JsonObject:
        """`PUT /_matrix/client/v3/user/{userId}/account_data/{type}`, also with `/rooms/{roomId}`"""
        requester.check_is(user_id, _NO_DATA)
        await self._account_data.put(user_id, room_id, data_type, request.json_object())
        return {}

    async def delete(
        self,
        _request: Request,
        requester: Requester,
        user_id: str,
        data_type: str,
        room_id: str | None = None,
    ) -> JsonObject:
        """`DELETE /_matrix/client/unstable/org.matrix.msc3391/user/{userId}/account_data/{type}`, also with `/rooms/{roomId}`"""
        requester.check_is(user_id, _NO_DATA)
        await self._account_data.delete(user_id, room_id, data_type)
        return {}

    async def tags(self, _request: Request, requester: Requester, user_id: str, room_id: str) -> JsonObject:
        """`GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags`"""
        requester.check_is(user_id, _NO_TAGS)
        return {"tags": await self._account_data.tags(user_id, room_id)}

    async def put_tag(
        self, request: Request, requester: Requester, user_id: str, room_id: str, tag: str
    ) -> JsonObject:
        """`PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`"""
        requester.check_is(user_id, _NO_TAGS)
        await self._account_data.put_tag(user_id, room_id, tag, request.json_object())
        return {}

    async def delete_tag(
        self, _request: Request, requester: Requester, user_id: str, room_id: str, tag: str
    ) -> JsonObject:
        """`DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`"""
        requester.check_is(user_id, _NO_TAGS)
        await self._account_data.delete_tag(user_id, room_id, tag)
        return {}

    async def add_filter(self, request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/user/{userId}/filter`"""
        requester.check_is(user_id, _NO_FILTERS)
        return {"filter_id": await self._account_data.add_filter(user_id, request.json_object())}

    async def filter(
        self, _request: Request, requester: Requester, user_id: str, filter_id: str
    ) -> JsonObject:
        """`GET /_matrix/client/v3/user/{userId}/filter/{filterId}`"""
        requester.check_is(user_id, _NO_FILTERS)
        return await self._account_data.filter(user_id, filter_id)
