"""What operators, and in part users themselves, may ask about a user."""

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, forbidden, invalid_param, not_found
from synapse_lite.handlers.push_rules import PUSH_RULES, shown_push_rules
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.user_admin import LOOK_UP, check_local
from synapse_lite.storage import devices, user_facts
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.pushers import Pusher, read_pushers
from synapse_lite.storage.user_admin import find_user


class UserFacts:
    """What is no user id is 400 `M_INVALID_PARAM`. `server_name` is ours; `follows_threads` as of `PushRules`."""

    def __init__(self, database: Database, server_name: str, *, follows_threads: bool = False) -> None:
        self._database = database
        self._follows_threads = follows_threads
        self._server_name = server_name

    async def joined_rooms(self, user_id: str) -> list[str]:
        """Room ids; also of users of other servers, as far as their rooms are known."""
        memberships = await self.memberships(user_id)
        return [room_id for room_id, membership in memberships.items() if membership == "join"]

    async def memberships(self, user_id: str) -> dict[str, str]:
        """Room id to membership; of whom as `joined_rooms`."""
        ids.check_user_id(user_id)
        return await self._database.read(user_facts.memberships_by_room, user_id)

    async def invite_count(self, user_id: str, since_ms: int) -> int:
        ids.check_user_id(user_id)
        return await self._database.read(user_facts.count_invites, user_id, since_ms)

    async def joined_room_count(self, user_id: str, since_ms: int) -> int:
        """Rooms that were left since count too."""
        ids.check_user_id(user_id)
        return await self._database.read(user_facts.count_joined_rooms, user_id, since_ms)

    async def account_data(self, user_id: str) -> JsonObject:
        """`global` and `rooms`. 400 for a user of another server, 404 `M_NOT_FOUND` for an unknown one."""
        check_local(user_id, self._server_name, LOOK_UP)
        found = await self._database.snapshot(_account_data, user_id)
        own = found.pop(None, {})
        stored = own.get(PUSH_RULES)
        own[PUSH_RULES] = shown_push_rules(user_id, stored, follows_threads=self._follows_threads)
        return {"global": own, "rooms": found}

    async def pushers(self, user_id: str) -> list[JsonObject]:
        """As Synapse shows them to administrators; errors as of `account_data`."""
        check_local(user_id, self._server_name, LOOK_UP)
        return [_shown_pusher(pusher) for pusher in await self._database.snapshot(_pushers, user_id)]

    async def whois(self, requester: Requester, user_id: str) -> JsonObject:
        """From where the user's devices were used last. 403 for whoever is neither they nor an administrator."""
        ids.check_user_id(user_id)
        if not requester.is_admin:
            requester.check_is(user_id, "You are not a server admin")
        if not ids.is_local(user_id, self._server_name):
            raise MatrixError(400, Errcode.UNKNOWN, "Can only whois a local user")
        connections = [
            {
                "ip": device.last_seen_ip,
                "last_seen": device.last_seen_ts,
                "user_agent": device.last_seen_user_agent,
            }
            for device in await self._database.read(devices.read_devices, user_id)
            if device.last_seen_ts is not None
        ]
        return {"user_id": user_id, "devices": {"": {"sessions": [{"connections": connections}]}}}

    async def moderation(self, requester: Requester, user_id: str, *, changing: bool) -> JsonObject:
        """`locked` and `suspended` (client-server API, "Server administration").

        400 `M_INVALID_PARAM` for a user of another server, 404 `M_NOT_FOUND` for one who is unknown or
        deactivated, 403 `M_FORBIDDEN` for changing oneself or another administrator.
        """
        ids.check_user_id(user_id)
        if not ids.is_local(user_id, self._server_name):
            raise invalid_param("User does not belong to the local server.")
        user = await self._database.read(find_user, user_id)
        if user is None or user.deactivated:
            raise not_found("User not found.")
        if changing and (user.is_admin or requester.user_id == user_id):
            raise forbidden("Administrators cannot be locked or suspended.")
        return {"locked": user.locked, "suspended": user.suspended}


def _pushers(txn: Transaction, user_id: str) -> list[Pusher]:
    if find_user(txn, user_id) is None:
        raise not_found("User not found")
    return read_pushers(txn, user_id)


def _shown_pusher(pusher: Pusher) -> JsonObject:
    return {
        "app_display_name": pusher.app_display_name,
        "app_id": pusher.app_id,
        "data": pusher.data,
        "device_display_name": pusher.device_display_name,
        "kind": pusher.kind,
        "lang": pusher.lang,
        "profile_tag": pusher.profile_tag or "",
        "pushkey": pusher.pushkey,
        "enabled": pusher.enabled,
        "device_id": pusher.device_id,
    }


def _account_data(txn: Transaction, user_id: str) -> dict[str | None, JsonObject]:
    if find_user(txn, user_id) is None:
        raise not_found("User not found")
    return dict[str | None, JsonObject](user_facts.account_data_by_room(txn, user_id))
