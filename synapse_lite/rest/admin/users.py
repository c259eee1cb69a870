"""Users: lists, one of them, making and changing them."""

from typing import Any

import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, bad_json, forbidden, invalid_param, missing_param
from synapse_lite.handlers.registration import USER_TYPES
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.user_admin import ORDER_NAMES, UserAdmin, UserChange, UserQuery, UserSearch
from synapse_lite.http.access import Access
from synapse_lite.http.request import REQUIRED, Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route
from synapse_lite.matrix.content_checks import MAX_AVATAR_URL, MAX_DISPLAYNAME
from synapse_lite.rest.body import MAX_PASSWORD, optional_text, parameter, text
from synapse_lite.rest.paging import admin_limit, goes_backwards

V1 = "/_synapse/admin/v1"
V2 = "/_synapse/admin/v2"
V3 = "/_synapse/admin/v3"
MAX_IDENTITIES = 100
MAX_ID = 512


class UsersApi:
    """`passwords_enabled`: whether there is any login by password."""

    def __init__(self, users: UserAdmin, *, passwords_enabled: bool) -> None:
        self._users = users
        self._passwords_enabled = passwords_enabled

    def routes(self) -> list[Route]:
        one = f"{V2}/users/{{user_id}}"
        return [
            Route("GET", f"{V2}/users", self.find, Access.ADMIN),
            Route("GET", f"{V3}/users", self.find_v3, Access.ADMIN),
            Route("GET", one, self.user, Access.ADMIN),
            Route("PUT", one, self.put, Access.ADMIN),
            Route("GET", f"{V1}/users/{{user_id}}/admin", self.is_admin, Access.ADMIN),
            Route("PUT", f"{V1}/users/{{user_id}}/admin", self.set_admin, Access.ADMIN),
            Route("POST", f"{V1}/deactivate/{{user_id}}", self.deactivate, Access.ADMIN),
            Route("PUT", f"{V1}/suspend/{{user_id}}", self.suspend, Access.ADMIN),
            Route("POST", f"{V1}/users/{{user_id}}/shadow_ban", self.shadow_ban, Access.ADMIN),
            Route("DELETE", f"{V1}/users/{{user_id}}/shadow_ban", self.lift_shadow_ban, Access.ADMIN),
            Route("POST", f"{V1}/reset_password/{{user_id}}", self.reset_password, Access.ADMIN),
            Route("POST", f"{V1}/users/{{user_id}}/login", self.log_in_as, Access.ADMIN),
            Route("GET", f"{V1}/search_users/{{user_id}}", self.search, Access.ADMIN),
            Route("GET", f"{V1}/username_available", self.is_available, Access.ADMIN),
            Route("GET", f"{V1}/threepid/{{medium}}/users/{{address}}", self.by_threepid, Access.ADMIN),
            Route(
                "GET",
                f"{V1}/auth_providers/{{provider}}/users/{{external_id}}",
                self.by_external_id,
                Access.ADMIN,
            ),
        ]

    async def find(self, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v2/users`: without deactivated users, unless `deactivated=true`."""
        return await self._find(request, None if request.query_bool("deactivated") else False)

    async def find_v3(self, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v3/users`: `deactivated=true` finds those only, `false` all others."""
        return await self._find(request, request.query_bool("deactivated", None))

    async def search(self, request: Request, _requester: Requester, user_id: str) -> Response:
        """`GET /_synapse/admin/v1/search_users/{user_id}`: an array."""
        term = request.query("term", REQUIRED)
        return Response(200, orjson.dumps(await self._users.search(user_id, term)))

    async def user(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v2/users/{user_id}`"""
        return await self._users.user(user_id)

    async def put(self, request: Request, requester: Requester, user_id: str) -> Response:
        """`PUT /_synapse/admin/v2/users/{user_id}`: 201 when it makes the user."""
        change = _read_change(request.json_object())
        made, user = await self._users.put(requester, user_id, change, "PUT /_synapse/admin/v2/users")
        return Response(201 if made else 200, user)

    async def is_admin(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/users/{user_id}/admin`"""
        return {"admin": await self._users.is_admin(user_id)}

    async def set_admin(self, request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`PUT /_synapse/admin/v1/users/{user_id}/admin`"""
        body = request.json_object()
        if "admin" not in body:
            raise missing_param("admin")
        await self._users.set_admin(requester, user_id, is_admin=bool(body["admin"]))
        return {}

    async def deactivate(self, request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/deactivate/{user_id}`: a task does what takes long."""
        erase = parameter(request.json_object(allow_empty=True), "erase", bool, False)
        await self._users.deactivate(
            requester, user_id, erase=erase, endpoint="POST /_synapse/admin/v1/deactivate"
        )
        return {"id_server_unbind_result": "success"}

    async def suspend(self, request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`PUT /_synapse/admin/v1/suspend/{user_id}`"""
        suspend = parameter(request.json_object(), "suspend", bool)
        await self._users.set_values(user_id, {"suspended": suspend}, "Only local users can be suspended")
        return {f"user_{user_id}_suspended": suspend}

    async def shadow_ban(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/users/{user_id}/shadow_ban`"""
        await self._users.set_values(
            user_id, {"shadow_banned": True}, "Only local users can be shadow-banned"
        )
        return {}

    async def lift_shadow_ban(self, _request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`DELETE /_synapse/admin/v1/users/{user_id}/shadow_ban`"""
        await self._users.set_values(
            user_id, {"shadow_banned": False}, "Only local users can be shadow-banned"
        )
        return {}

    async def reset_password(self, request: Request, _requester: Requester, user_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/reset_password/{user_id}`"""
        if not self._passwords_enabled:
            raise forbidden("Password login has been disabled")
        body = request.json_object()
        password = text(body, "new_password", MAX_PASSWORD)
        await self._users.reset_password(
            user_id, password, log_out=parameter(body, "logout_devices", bool, True)
        )
        return {}

    async def log_in_as(self, request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/users/{user_id}/login`"""
        until_ms = request.json_object(allow_empty=True).get("valid_until_ms")
        if until_ms is not None and (not isinstance(until_ms, int) or isinstance(until_ms, bool)):
            raise _unknown("'valid_until_ms' parameter must be an int")
        return {"access_token": await self._users.log_in_as(requester, user_id, until_ms)}

    async def is_available(self, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/username_available`"""
        username = request.query("username", REQUIRED)
        await self._users.check_available(username)
        return {"available": True}

    async def by_threepid(
        self, _request: Request, _requester: Requester, medium: str, address: str
    ) -> JsonObject:
        """`GET /_synapse/admin/v1/threepid/{medium}/users/{address}`"""
        return {"user_id": await self._users.by_threepid(medium, address)}

    async def by_external_id(
        self, _request: Request, _requester: Requester, provider: str, external_id: str
    ) -> JsonObject:
        """`GET /_synapse/admin/v1/auth_providers/{provider}/users/{external_id}`"""
        return {"user_id": await self._users.by_external_id(provider, external_id)}

    async def _find(self, request: Request, deactivated: bool | None) -> JsonObject:
        request.query_bool("approved", True)
        term = request.query("name") or None
        search = UserSearch(
            term=term,
            id_part=None if term else request.query("user_id") or None,
            guests=None if request.query_bool("guests", True) else False,
            deactivated=deactivated,
            locked=None if request.query_bool("locked") else False,
            admins=request.query_bool("admins", None),
            without_types=[name or None for name in request.query_list("not_user_type")],
        )
        query = UserQuery(
            search,
            request.query_choice("order_by", ORDER_NAMES, "name"),
            goes_backwards(request),
            request.query_int("from", 0),
            admin_limit(request),
        )
        return await self._users.find(query)


def _read_change(body: JsonObject) -> UserChange:
    """400 `M_UNKNOWN` in Synapse's words for most values that are wrong."""
    deactivated, locked = _flag(body, "deactivated"), _flag(body, "locked")
    if deactivated and locked:
        raise _unknown("An user can't be deactivated and locked")
    _flag(body, "approved")
    values: dict[str, str | bool | None] = {}
    for name, longest in (("displayname", MAX_DISPLAYNAME), ("avatar_url", MAX_AVATAR_URL)):
        if name in body:
            values[name] = optional_text(body, name, longest) or None
    admin = parameter(body, "admin", bool, None)
    if admin is not None:
        values["is_admin"] = admin
    if locked is not None:
        values["locked"] = locked
    if "user_type" in body:
        values["user_type"] = _user_type(body["user_type"])
    return UserChange(
        values=values,
        password=_password(body),
        logout_devices=_flag(body, "logout_devices") is not False,
        deactivated=deactivated,
        threepids=_pairs(body, "threepids", "medium", "address"),
        external_ids=_pairs(body, "external_ids", "auth_provider", "external_id"),
    )


def _flag(body: JsonObject, name: str) -> bool | None:
    value = body.get(name)
    if name in body and not isinstance(value, bool):
        raise _unknown(f"'{name}' parameter is not of type boolean")
    return value


def _password(body: JsonObject) -> str | None:
    password = body.get("password")
    if password is not None and (not isinstance(password, str) or len(password) > MAX_PASSWORD):
        raise _unknown("Invalid password")
    return password


def _user_type(value: Any) -> str | None:
    if value is not None and value not in USER_TYPES:
        raise _unknown("Invalid user type")
    return None if value is None else str(value)


def _pairs(body: JsonObject, name: str, *keys: str) -> list[tuple[str, str]] | None:
    """Of each object in the list what stands under the two keys; None when there is no list."""
    items: list[Any] | None = parameter(body, name, list, None)
    if items is None:
        return None
    if len(items) > MAX_IDENTITIES:
        raise invalid_param(f"Parameter {name!r} holds more than {MAX_IDENTITIES} values")
    if not all(isinstance(item, dict) for item in items):
        raise bad_json(f"Parameter {name!r} must be a list of objects")
    first, second = keys
    return [(text(item, first, MAX_ID), text(item, second, MAX_ID)) for item in items]


def _unknown(message: str) -> MatrixError:
    return MatrixError(400, Errcode.UNKNOWN, message)
