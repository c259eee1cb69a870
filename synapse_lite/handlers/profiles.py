"""Profiles: display name, avatar and further fields (client-server API, "Profiles")."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from synapse_lite.canonical_json import JsonObject, check_canonical, encode
from synapse_lite.errors import MatrixError, bad_json, forbidden, invalid_param, not_found
from synapse_lite.handlers.auth import Requester
from synapse_lite.storage import accounts
from synapse_lite.storage.database import Database

DISPLAYNAME = "displayname"
AVATAR_URL = "avatar_url"
MAX_DISPLAYNAME = 256
MAX_AVATAR_URL = 1000
MAX_FIELD_NAME_BYTES = 255
MAX_PROFILE_BYTES = 65536

OnProfileChange = Callable[[str, str], Awaitable[None]]
"""Called with whose profile changed and who changed it, after the commit, for what rooms show."""


class Profiles:
    """`fixed` names the fields that only administrators may change."""

    def __init__(
        self, database: Database, on_profile_change: OnProfileChange, fixed: frozenset[str] = frozenset()
    ) -> None:
        self._database = database
        self._on_profile_change = on_profile_change
        self._fixed = fixed

    async def profile(self, user_id: str) -> JsonObject:
        """The fields that are set; 404 `M_NOT_FOUND` for an unknown user."""
        profile = await self._database.read(accounts.read_profile, user_id)
        if profile is None:
            raise not_found("Profile was not found")
        return profile

    async def field(self, user_id: str, name: str) -> JsonObject:
        """The field alone, in an object; 404 `M_NOT_FOUND` when it is not set."""
        _check_name(name)
        profile = await self.profile(user_id)
        if name not in profile:
            raise not_found("Profile field was not found")
        return {name: profile[name]}

    async def set_field(self, requester: Requester, user_id: str, name: str, value: Any) -> None:
        """Raises 400 for a value that does not fit the field, 403, and 404 for an unknown user."""
        _check_name(name)
        if name in (DISPLAYNAME, AVATAR_URL):
            await self._change(requester, user_id, name, _check_text(name, value) or None)
            return
        check_canonical(value)
        await self._change(requester, user_id, name, value, keep_null=True)

    async def delete_field(self, requester: Requester, user_id: str, name: str) -> None:
        _check_name(name)
        await self._change(requester, user_id, name, None)

    async def _change(
        self, requester: Requester, user_id: str, name: str, value: Any, *, keep_null: bool = False
    ) -> None:
        if not requester.is_admin:
            self._check_allowed(requester, user_id, name)
        change = partial(_without, name) if value is None and not keep_null else partial(_with, name, value)
        changed = await self._database.transact(accounts.change_profile, user_id, change)
        if changed is None:
            raise not_found("Profile was not found")
        if changed and name in (DISPLAYNAME, AVATAR_URL):
            await self._on_profile_change(user_id, requester.user_id)

    def _check_allowed(self, requester: Requester, user_id: str, name: str) -> None:
        if requester.user_id != user_id:
            raise forbidden("Cannot set the profile of another user")
        if requester.suspended:
            raise MatrixError(403, "M_USER_SUSPENDED", "Updating the profile while suspended is not allowed.")
        if name in self._fixed:
            raise forbidden(f"Changing {name} is disabled on this server")


def _with(name: str, value: Any, profile: JsonObject) -> JsonObject:
    changed = {**profile, name: value}
    if len(encode(changed)) >= MAX_PROFILE_BYTES:
        raise MatrixError(400, "M_PROFILE_TOO_LARGE", "The profile would be 64 KiB or larger")
    return changed


def _without(name: str, profile: JsonObject) -> JsonObject:
    return {key: value for key, value in profile.items() if key != name}


def _check_name(name: str) -> None:
    if not name:
        raise invalid_param("Invalid profile key")
    if len(name.encode()) > MAX_FIELD_NAME_BYTES:
        raise MatrixError(
            400, "M_KEY_TOO_LARGE", f"Profile key is too long (max {MAX_FIELD_NAME_BYTES} bytes)"
        )


def _check_text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value:
        raise bad_json(f"'{name}' must be a string without NUL")
    longest = MAX_DISPLAYNAME if name == DISPLAYNAME else MAX_AVATAR_URL
    if len(value.encode()) > longest:
        raise invalid_param(f"{name} is too long (max {longest} bytes)")
    return value
