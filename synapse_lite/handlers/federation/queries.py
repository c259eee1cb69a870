"""What other servers ask about users and aliases of this one (server-server API, "Querying for information")."""

from collections.abc import Collection, Mapping
from typing import TypeVar

import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, forbidden, not_found
from synapse_lite.handlers.app_services.queries import ServiceQueries
from synapse_lite.handlers.device_keys import DeviceKeys
from synapse_lite.handlers.public_keys import ExpectLarge
from synapse_lite.handlers.room_complexity import complexity
from synapse_lite.ids import is_local
from synapse_lite.storage import accounts, device_lists, rooms
from synapse_lite.storage import aliases as alias_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.room_servers import all_servers
from synapse_lite.storage.room_summary import read_summaries

T = TypeVar("T")

_PUBLIC_KEYS = ("device_keys", "master_keys", "self_signing_keys")


class ServedQueries:
    """`tells_profiles`: to other servers, too."""

    def __init__(
        self,
        database: Database,
        keys: DeviceKeys,
        services: ServiceQueries,
        server_name: str,
        *,
        tells_profiles: bool,
    ) -> None:
        self._services = services
        self._tells_profiles = tells_profiles
        self._database = database
        self._keys = keys
        self._server_name = server_name

    async def profile(self, user_id: str, field: str | None) -> JsonObject:
        """All fields that are set, or one; 404 `M_NOT_FOUND` for a user that is not ours, or unknown, and for a field of no meaning
        that is not set. 403 `M_FORBIDDEN` where profiles are not told.
        """
        if not self._tells_profiles:
            raise forbidden("Profile lookup over federation is disabled on this server")
        self._check_local(user_id)
        profile = await self._database.read(accounts.read_profile, user_id)
        if profile is None:
            raise not_found("User not found")
        if field not in (None, "displayname", "avatar_url", *profile):
            raise not_found("No such field in the profile")
        return {name: value for name, value in profile.items() if field in (None, name)}

    async def directory(self, alias: str) -> JsonObject:
        """404 `M_NOT_FOUND` for an alias that names no room of ours."""
        found = await self._database.read(self._directory, alias)
        if found is None and is_local(alias, self._server_name) and await self._services.find_alias(alias):
            found = await self._database.read(self._directory, alias)
        if found is None:
            raise not_found(f"Room alias {alias} not found")
        return found

    async def complexity(self, room_id: str) -> float:
        """How large a room is that anybody may join or see, of other servers, too; 404 `M_INVALID_PARAM` for any other."""
        return await self._database.read(self._complexity, room_id)

    async def devices(self, user_id: str, expect_large: ExpectLarge) -> JsonObject:
        """The devices of a user with their public keys; their names are nobody else's business."""
        self._check_local(user_id)
        if await self._database.read(accounts.read_profile, user_id) is None:
            raise not_found("User not found")
        stream_id = await self._database.read(device_lists.last_change, user_id)
        found = await self._keys.query(None, {user_id: []}, expect_large)
        by_device = orjson.loads(orjson.dumps(found["device_keys"][user_id]))  # it is ready-made JSON
        devices = [{"device_id": device_id, "keys": keys} for device_id, keys in by_device.items()]
        answer: JsonObject = {"user_id": user_id, "stream_id": stream_id, "devices": devices}
        for name, field in (("master_key", "master_keys"), ("self_signing_key", "self_signing_keys")):
            if user_id in found[field]:
                answer[name] = found[field][user_id]
        return answer

    async def keys(self, wanted: Mapping[str, Collection[str]], expect_large: ExpectLarge) -> JsonObject:
        """Public keys of our users; others are left out. `wanted`: device ids by user, none for all."""
        found = await self._keys.query(None, self._ours(wanted), expect_large)
        return {name: found[name] for name in _PUBLIC_KEYS}

    async def claim(self, wanted: Mapping[str, Mapping[str, str]]) -> JsonObject:
        """A one-time key of each device; `wanted`: the algorithm by user and device."""
        found = await self._keys.claim(self._ours(wanted))
        return {"one_time_keys": found["one_time_keys"]}

    def _ours(self, wanted: Mapping[str, T]) -> dict[str, T]:
        return {user_id: one for user_id, one in wanted.items() if is_local(user_id, self._server_name)}

    def _check_local(self, user_id: str) -> None:
        if not is_local(user_id, self._server_name):
            raise not_found("User is not hosted on this homeserver")

    def _complexity(self, txn: Transaction, room_id: str) -> float:
        room = rooms.room_by_id(txn, room_id)
        found = room and read_summaries(txn, [room.nid])[room.nid]
        if not found or not (
            found.federates and (found.join_rule == "public" or found.history_visibility == "world_readable")
        ):
            raise MatrixError(404, Errcode.INVALID_PARAM, "Room not found")
        return complexity(found)

    def _directory(self, txn: Transaction, alias: str) -> JsonObject | None:
        room_id = alias_store.room_of_alias(txn, alias) if is_local(alias, self._server_name) else None
        room = rooms.room_by_id(txn, room_id) if room_id is not None else None
        if room is None:
            return None
        servers = all_servers(txn, room.nid)
        others = [name for name in servers if name != self._server_name]
        return {"room_id": room.room_id, "servers": [self._server_name, *others]}
