"""Profiles: display name, avatar and further fields (client-server API, "Profiles")."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject, check_canonical, check_no_nul, encode
from synapse_lite.errors import Errcode, MatrixError, bad_json, forbidden, invalid_param, not_found
from synapse_lite.handlers.app_services.queries import ServiceQueries
from synapse_lite.handlers.avatars import Avatars
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.remote_profiles import RemoteProfiles
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.matrix.content_checks import MAX_AVATAR_URL, MAX_DISPLAYNAME
from synapse_lite.storage import accounts, deactivation
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.mutual_rooms import share_room

DISPLAYNAME = "displayname"
AVATAR_URL = "avatar_url"
MAX_FIELD_NAME_BYTES = 255
MAX_PROFILE_BYTES = 65536

Change = Callable[[JsonObject], JsonObject]

ENDPOINT = "PUT /_matrix/client/v3/profile/{userId}/{keyName}"


class ShowsProfiles(Protocol):
    """What rooms show of a profile: `ask` in the transaction of the change, `show` after its commit."""

    def ask(self, txn: Transaction, user_id: str, requester: str, endpoint: str) -> None: ...

    async def show(self, user_id: str) -> None: ...


class Profiles:
    """`server_name` is ours. `limiter`: changes by one user, each of which is an event in every room. `fixed`: fields only administrators may change.
    `share_rooms_only`: profiles are shown to who is in a room with the user.
    """

    def __init__(
        self,
        database: Database,
        rooms: ShowsProfiles,
        limiter: RateLimiter,
        avatars: Avatars,
        remote: RemoteProfiles,
        services: ServiceQueries,
        server_name: str,
        fixed: frozenset[str] = frozenset(),
        *,
        share_rooms_only: bool = False,
    ) -> None:
        self._database = database
        self._limiter = limiter
        self._rooms = rooms
        self._avatars = avatars
        self._remote = remote
        self._services = services
        self._server_name = server_name
        self._fixed = fixed
        self._share_rooms_only = share_rooms_only

    async def profile(self, requester: Requester | None, user_id: str) -> JsonObject:
        """The fields that are set; 404 `M_NOT_FOUND` for an unknown user, and for one who has none.

        Of users of other servers see `RemoteProfiles`: only who has an account makes this server ask others, without
        one it is 401 `M_MISSING_TOKEN`. 403 `M_FORBIDDEN` for who shares no room with them, where that is asked.
        """
        if self._share_rooms_only:
            await self._check_shares_room(requester, user_id)
        if not ids.is_local(user_id, self._server_name):
            if requester is None:
                raise MatrixError(401, Errcode.MISSING_TOKEN, "Missing access token")
            return await self._remote.of(user_id)
        profile = await self._database.read(accounts.read_profile, user_id)
        if profile is None and await self._services.find_user(user_id):
            profile = await self._database.read(accounts.read_profile, user_id)
        if not profile:
            raise not_found("Profile was not found")
        return profile

    async def field(self, requester: Requester | None, user_id: str, name: str) -> JsonObject:
        """The field alone, in an object; 404 `M_NOT_FOUND` when it is not set."""
        _check_name(name)
        profile = await self.profile(requester, user_id)
        if name not in profile:
            raise not_found("Profile field was not found")
        return {name: profile[name]}

    async def set_field(self, requester: Requester, user_id: str, name: str, value: Any) -> None:
        """Raises 400 for a value that does not fit the field, 403, and 404 for an unknown user."""
        _check_name(name)
        if name in (DISPLAYNAME, AVATAR_URL):
            text = _check_text(name, value)
            if name == AVATAR_URL:
                await self._avatars.check(text)
            await self._change(requester, user_id, name, text or None)
            return
        check_canonical(value)
        check_no_nul(value)
        await self._change(requester, user_id, name, value, keep_null=True)

    async def delete_field(self, requester: Requester, user_id: str, name: str) -> None:
        _check_name(name)
        await self._change(requester, user_id, name, None)

    async def _change(
        self, requester: Requester, user_id: str, name: str, value: Any, *, keep_null: bool = False
    ) -> None:
        if not requester.is_admin:
            self._check_allowed(requester, user_id, name)
            await check_user(self._limiter, requester)
        change = partial(_without, name) if value is None and not keep_null else partial(_with, name, value)
        is_shown = name in (DISPLAYNAME, AVATAR_URL) and not requester.shadow_banned
        asks_for = requester.user_id if is_shown else None
        own = not requester.is_admin
        changed = await self._database.transact(self._write, user_id, change, asks_for, own=own)
        if changed is None:
            raise not_found("Profile was not found")
        if changed and is_shown:
            await self._rooms.show(user_id)

    def _write(
        self, txn: Transaction, user_id: str, change: Change, asks_for: str | None, *, own: bool
    ) -> bool | None:
        """As `change_profile`; `asks_for`: who wants rooms to show it. `own`: nothing returns to a closed account."""
        if own and deactivation.is_deactivated(txn, user_id):
            raise MatrixError(403, Errcode.USER_DEACTIVATED, "This account has been deactivated")
        changed = accounts.change_profile(txn, user_id, change)
        if changed and asks_for is not None:
            self._rooms.ask(txn, user_id, asks_for, ENDPOINT)
        return changed

    async def _check_shares_room(self, requester: Requester | None, user_id: str) -> None:
        if requester is not None:
            asks = requester.user_id
            if asks == user_id or await self._database.read(share_room, asks, user_id):
                return
        raise forbidden("Profile is not available")

    def _check_allowed(self, requester: Requester, user_id: str, name: str) -> None:
        if requester.user_id != user_id:
            raise forbidden("Cannot set the profile of another user")
        if requester.suspended:
            raise MatrixError(
                403, Errcode.USER_SUSPENDED, "Updating the profile while suspended is not allowed."
            )
        if name in self._fixed:
            raise forbidden(f"Changing {name} is disabled on this server")


def _with(name: str, value: Any, profile: JsonObject) -> JsonObject:
    changed = {**profile, name: value}
    if len(encode(changed)) >= MAX_PROFILE_BYTES:
        raise MatrixError(400, Errcode.PROFILE_TOO_LARGE, "The profile would be 64 KiB or larger")
    return changed


def _without(name: str, profile: JsonObject) -> JsonObject:
    return {key: value for key, value in profile.items() if key != name}


def _check_name(name: str) -> None:
    if len(name.encode()) > MAX_FIELD_NAME_BYTES:
        raise MatrixError(
            400, Errcode.KEY_TOO_LARGE, f"Profile key is too long (max {MAX_FIELD_NAME_BYTES} bytes)"
        )
    if not ids.is_namespaced(name):
        raise invalid_param("Invalid profile key")


def _check_text(name: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise bad_json(f"'{name}' must be a string without NUL")
    longest = MAX_DISPLAYNAME if name == DISPLAYNAME else MAX_AVATAR_URL
    if len(value) > longest:
        raise invalid_param(f"{name} is too long (max {longest} characters)")
    return value
