"""The pushers of users (client-server API, "Push Notifications")."""

from attrs import evolve, frozen

from synapse_lite.canonical_json import JsonObject, encode
from synapse_lite.clock import Clock
from synapse_lite.errors import forbidden, invalid_param, too_large
from synapse_lite.matrix.push_gateway import EVENT_ID_ONLY, PATH, is_gateway
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.pushers import HTTP, Pusher, count_pushers, delete_pusher, put_pusher, read_pushers

EMAIL = "email"
KINDS = (HTTP, EMAIL)
ENABLED = "org.matrix.msc3881.enabled"
DEVICE_ID = "org.matrix.msc3881.device_id"
MAX_DATA_BYTES = 16 * 1024
MAX_OF_USER = 100
"""Each is a request to somebody for each event."""


@frozen
class Pushers:
    """Everything here belongs to the user whose it is; the caller has checked that it is they who ask."""

    database: Database
    clock: Clock

    async def all(self, user_id: str, *, tells_devices: bool) -> list[JsonObject]:
        """In the form of `GET /pushers`; with the device of each one, and whether it is on, if that is to be told."""
        found = await self.database.read(read_pushers, user_id)
        return [_shown(pusher) | (_state(pusher) if tells_devices else {}) for pusher in found]

    async def put(self, pusher: Pusher, *, append: bool) -> None:
        """Create or replace it. Unless `append`, other users lose theirs with the same key.

        400 `M_INVALID_PARAM` for an unknown kind, and for an address that is none of a push gateway; 403 for who has too
        many.
        """
        if pusher.kind not in KINDS:
            raise invalid_param(f"'kind' must be one of: {', '.join(KINDS)}")
        if len(encode(pusher.data)) > MAX_DATA_BYTES:
            raise too_large(f"'data' takes more than {MAX_DATA_BYTES} bytes")
        if pusher.kind == EMAIL:
            pusher = evolve(pusher, device_id=None)  # mail is for the account
        if pusher.kind == HTTP:
            if not is_gateway(pusher.data.get("url")):
                raise invalid_param(f"'data.url' must be an HTTP(S) URL with the path {PATH}")
            if pusher.data.get("format", EVENT_ID_ONLY) != EVENT_ID_ONLY:
                raise invalid_param(f"'data.format' must be {EVENT_ID_ONLY!r}, if it is there")
        await self.database.transact(self._put, pusher, self.clock.now_ms(), only=not append)

    async def delete(self, user_id: str, app_id: str, pushkey: str) -> None:
        """One that is not there is as good as deleted."""
        await self.database.transact(delete_pusher, user_id, app_id, pushkey)

    def _put(self, txn: Transaction, pusher: Pusher, now_ms: int, *, only: bool) -> None:
        put_pusher(txn, pusher, now_ms, only=only)
        if count_pushers(txn, pusher.user_id) > MAX_OF_USER:
            raise forbidden(f"You may have {MAX_OF_USER} pushers")


def _shown(pusher: Pusher) -> JsonObject:
    shown = {
        "app_display_name": pusher.app_display_name,
        "app_id": pusher.app_id,
        "data": pusher.data,
        "device_display_name": pusher.device_display_name,
        "kind": pusher.kind,
        "lang": pusher.lang,
        "pushkey": pusher.pushkey,
    }
    return shown if pusher.profile_tag is None else {**shown, "profile_tag": pusher.profile_tag}


def _state(pusher: Pusher) -> JsonObject:
    """Remotely toggled push notifications (MSC3881)."""
    return {ENABLED: pusher.enabled, DEVICE_ID: pusher.device_id}
