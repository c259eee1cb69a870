"""Backups of room keys."""

from typing import Any

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import MatrixError, bad_json, invalid_param, too_large
from synapse_lite.handlers.key_backup import KeyBackup, Scope
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.json_stream import body_of
from synapse_lite.http.request import REQUIRED, Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.matrix.key_backup import RoomKey
from synapse_lite.rest.body import parameter, text

MAX_BODY = 16 * 1024 * 1024
MAX_KEYS = 10_000
MAX_KEY_BYTES = 64 * 1024
MAX_ALGORITHM = 255
MAX_ID = 255


class KeyBackupApi:
    def __init__(self, backup: KeyBackup) -> None:
        self._backup = backup

    def routes(self) -> list[Route]:
        version, one = "/room_keys/version", "/room_keys/version/{version}"
        keys = "/room_keys/keys"
        scopes = (keys, f"{keys}/{{room_id}}", f"{keys}/{{room_id}}/{{session_id}}")
        return [
            *client_routes("POST", version, self.create, Access.USER),
            *client_routes("GET", version, self.version, Access.USER),
            *client_routes("GET", one, self.version, Access.USER),
            *client_routes("PUT", one, self.update, Access.USER),
            *client_routes("DELETE", one, self.delete, Access.USER),
            *(
                route
                for path in scopes
                for route in (
                    *client_routes("GET", path, self.keys, Access.USER),
                    *client_routes("PUT", path, self.put_keys, Access.USER, max_body=MAX_BODY),
                    *client_routes("DELETE", path, self.delete_keys, Access.USER),
                )
            ),
        ]

    async def create(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/room_keys/version`"""
        algorithm, auth_data = _read_version(request.json_object())
        return {"version": await self._backup.create(requester.user_id, algorithm, auth_data)}

    async def version(
        self, _request: Request, requester: Requester, version: str | None = None
    ) -> JsonObject:
        """`GET /_matrix/client/v3/room_keys/version[/{version}]`"""
        return await self._backup.info(requester.user_id, version or None)

    async def update(self, request: Request, requester: Requester, version: str) -> JsonObject:
        """`PUT /_matrix/client/v3/room_keys/version/{version}`"""
        body = request.json_object()
        if parameter(body, "version", str, None) not in (None, version):
            raise invalid_param("The version of the body is not that of the path")
        await self._backup.update(requester.user_id, version, *_read_version(body))
        return {}

    async def delete(self, _request: Request, requester: Requester, version: str) -> JsonObject:
        """`DELETE /_matrix/client/v3/room_keys/version/{version}`"""
        await self._backup.delete(requester.user_id, version)
        return {}

    async def keys(self, request: Request, requester: Requester, **scope: str) -> Response:
        """`GET /_matrix/client/v3/room_keys/keys[/{roomId}[/{sessionId}]]`"""
        await request.expect_large_answer()
        chunks = self._backup.keys(requester.user_id, request.query("version", REQUIRED), Scope(**scope))
        return Response(200, await body_of(chunks))

    async def put_keys(self, request: Request, requester: Requester, **scope: str) -> JsonObject:
        """`PUT /_matrix/client/v3/room_keys/keys[/{roomId}[/{sessionId}]]`"""
        keys = _read_keys(request.json_object(), Scope(**scope))
        return await self._backup.put_keys(requester.user_id, request.query("version", REQUIRED), keys)

    async def delete_keys(self, request: Request, requester: Requester, **scope: str) -> JsonObject:
        """`DELETE /_matrix/client/v3/room_keys/keys[/{roomId}[/{sessionId}]]`"""
        return await self._backup.delete_keys(
            requester.user_id, request.query("version", REQUIRED), Scope(**scope)
        )


def _read_version(body: JsonObject) -> tuple[str, JsonObject]:
    auth_data = parameter(body, "auth_data", dict)
    _stored(auth_data, "auth_data")
    return text(body, "algorithm", MAX_ALGORITHM), auth_data


def _read_keys(body: JsonObject, scope: Scope) -> list[RoomKey]:
    """Of the whole, of a room or of a session: the path says which."""
    if scope.session_id is not None and scope.room_id is not None:
        return [_read_key(scope.room_id, scope.session_id, body)]
    rooms = {scope.room_id: body} if scope.room_id is not None else parameter(body, "rooms", dict)
    keys = []
    for room_id, room in rooms.items():
        if not isinstance(room, dict):
            raise bad_json(f"Room {room_id[:80]!r} must be an object")
        for session_id, key in parameter(room, "sessions", dict).items():
            keys.append(_read_key(room_id, session_id, key))
            if len(keys) > MAX_KEYS:
                raise invalid_param(f"More than {MAX_KEYS} keys in one request")
    return keys


def _read_key(room_id: str, session_id: str, key: Any) -> RoomKey:
    """400 names the session that is wrong."""
    name = f"{room_id[:80]} {session_id[:80]}"
    if not isinstance(key, dict):
        raise bad_json(f"Session {name} must be an object")
    if any(len(one.encode()) > MAX_ID or "\0" in one for one in (room_id, session_id)):
        raise invalid_param(f"Session {name}: the ID is too long")
    try:
        index = parameter(key, "first_message_index", int)
        count = parameter(key, "forwarded_count", int)
        is_verified = parameter(key, "is_verified", bool)
        data = _stored(parameter(key, "session_data", dict), "session_data")
    except MatrixError as error:
        raise MatrixError(error.status, error.errcode, f"Session {name}: {error.message}") from None
    if index < 0 or count < 0:
        raise invalid_param(f"Session {name}: numbers must not be negative")
    return RoomKey(room_id, session_id, is_verified, index, count, data.decode())


def _stored(value: JsonObject, name: str) -> bytes:
    """Canonical JSON. 400 for what has no such form, 413 for what is too large."""
    canonical_json.check_canonical(value)
    data = canonical_json.encode(value)
    if len(data) > MAX_KEY_BYTES:
        raise too_large(f"{name} is larger than {MAX_KEY_BYTES} bytes")
    return data
