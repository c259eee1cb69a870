"""Server-side key backups: a user's room keys, encrypted by the user."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import groupby
from typing import TypeVar

import orjson
from attrs import frozen

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, invalid_param, not_found, too_large
from synapse_lite.http.json_stream import json_chunks
from synapse_lite.matrix.key_backup import RoomKey, is_better
from synapse_lite.storage import key_backup
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.key_backup import BackupVersion

R = TypeVar("R")
PAGE = 50
"""Keys of at most 64 KiB that are read at once."""
MAX_VERSIONS = 100
"""Of a user. Clients delete the versions that are there before they create one."""
_VERSION = re.compile("[0-9]{1,17}")


@frozen
class Scope:
    """All keys of a version, those of a room, or that of a session."""

    room_id: str | None = None
    session_id: str | None = None


class KeyBackup:
    """`version` None means the current one. Every method raises 404 `M_NOT_FOUND` for a version that is not there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: str, algorithm: str, auth_data: JsonObject) -> str:
        """The new version, which is the current one from now on; 413 `M_TOO_LARGE` for more than `MAX_VERSIONS`."""
        return str(await self._database.transact(_create, user_id, algorithm, _text(auth_data)))

    async def info(self, user_id: str, version: str | None) -> JsonObject:
        """As `GET /room_keys/version` answers."""
        number = _number(version)
        if version is not None and number is None:
            raise _no_backup()
        found = await self._database.read(key_backup.find_version, user_id, number)
        if found is None:
            raise _no_backup()
        return {
            "algorithm": found.algorithm,
            "auth_data": orjson.Fragment(found.auth_data),
            "version": str(found.version),
            **_etag(found),
        }

    async def update(self, user_id: str, version: str, algorithm: str, auth_data: JsonObject) -> None:
        """Only the auth data changes; 400 `M_INVALID_PARAM` for another algorithm."""

        def write(txn: Transaction, found: BackupVersion) -> None:
            if found.algorithm != algorithm:
                raise invalid_param("The algorithm of a backup cannot be changed")
            key_backup.set_auth_data(txn, user_id, found.version, _text(auth_data))

        await self._in_version(user_id, version, write)

    async def delete(self, user_id: str, version: str) -> None:
        number = _number(version)
        if number is None or not await self._database.transact(key_backup.delete_version, user_id, number):
            raise _no_backup()

    async def keys(self, user_id: str, version: str, scope: Scope) -> AsyncIterator[bytes]:
        """The body of the answer, in chunks: `{"rooms": …}`, `{"sessions": …}` or one key.

        404 `M_NOT_FOUND` for a single key that is not there.
        """
        pages = self._pages(user_id, version, scope)
        if scope.session_id is not None:
            async for (key,) in pages:
                yield orjson.dumps(_shown(key))
                return
            raise not_found("No room_keys found")
        if scope.room_id is not None:
            sessions = (_sessions(page) async for page in pages)
            async for chunk in json_chunks(b'{"sessions":{', sessions, b"}}"):
                yield chunk
            return
        text, room_id = b'{"rooms":{', None
        async for page in pages:
            more, room_id = _rooms(page, room_id)
            yield text + more
            text = b""
        yield text + (b"}}" if room_id is None else b"}}}}")

    async def _pages(self, user_id: str, version: str, scope: Scope) -> AsyncIterator[list[RoomKey]]:
        number = await self._database.read(_find, user_id, version)
        after: tuple[str, str] | None = None
        while keys := await self._database.read(
            key_backup.read_keys, user_id, number, scope.room_id, scope.session_id, after, PAGE
        ):
            yield keys
            after = keys[-1].room_id, keys[-1].session_id

    async def put_keys(self, user_id: str, version: str, keys: Sequence[RoomKey]) -> JsonObject:
        """Store those that are better than what is there; etag and count after that.

        403 `M_WRONG_ROOM_KEYS_VERSION`, with `current_version`, unless it is the current version.
        """

        def write(txn: Transaction, found: BackupVersion) -> JsonObject:
            _check_current(txn, user_id, found)
            newest = {(key.room_id, key.session_id): key for key in keys}
            stored = key_backup.find_keys(txn, user_id, found.version, newest.keys())
            better = [
                key
                for name, key in sorted(newest.items())
                if name not in stored or is_better(key, stored[name])
            ]
            new = len(newest.keys() - stored.keys())
            return _etag(key_backup.put_keys(txn, user_id, found, better, new))

        return await self._in_version(user_id, version, write)

    async def delete_keys(self, user_id: str, version: str, scope: Scope) -> JsonObject:
        """Etag and count after that; keys that are not there are none to delete. Many go in several transactions."""

        def write(txn: Transaction, found: BackupVersion) -> tuple[BackupVersion, bool]:
            return key_backup.delete_keys(txn, user_id, found, scope.room_id, scope.session_id)

        has_more = True
        while has_more:
            left, has_more = await self._in_version(user_id, version, write)
        return _etag(left)

    async def _in_version(
        self, user_id: str, version: str, write: Callable[[Transaction, BackupVersion], R]
    ) -> R:
        return await self._database.transact(_write, user_id, version, write)


def _create(txn: Transaction, user_id: str, algorithm: str, auth_data: str) -> int:
    if key_backup.lock_versions(txn, user_id) >= MAX_VERSIONS:
        raise too_large(f"You have {MAX_VERSIONS} backups: delete one of them first")
    return key_backup.create_version(txn, user_id, algorithm, auth_data)


def _write(
    txn: Transaction, user_id: str, version: str, write: Callable[[Transaction, BackupVersion], R]
) -> R:
    number = _number(version)
    found = None if number is None else key_backup.lock_version(txn, user_id, number)
    if found is None:
        raise _no_backup()
    return write(txn, found)


def _check_current(txn: Transaction, user_id: str, version: BackupVersion) -> None:
    current = key_backup.find_version(txn, user_id, None)
    if current is not None and current.version != version.version:
        raise MatrixError(
            403,
            Errcode.WRONG_ROOM_KEYS_VERSION,
            "Wrong backup version.",
            {"current_version": str(current.version)},
        )


def _find(txn: Transaction, user_id: str, version: str) -> int:
    number = _number(version)
    if number is None or key_backup.find_version(txn, user_id, number) is None:
        raise _no_backup()
    return number


def _sessions(keys: Sequence[RoomKey]) -> JsonObject:
    return {key.session_id: _shown(key) for key in keys}


def _rooms(keys: Sequence[RoomKey], open_room: str | None) -> tuple[bytes, str | None]:
    """Members of the object `rooms`, the last of which is left open as `open_room` was; and which that is."""
    text = b""
    for room_id, some in groupby(keys, lambda key: key.room_id):
        sessions = orjson.dumps(_sessions([*some]))[1:-1]
        if room_id == open_room:
            text += b"," + sessions
        else:
            before = b"" if open_room is None else b"}},"
            text += before + orjson.dumps(room_id) + b':{"sessions":{' + sessions
        open_room = room_id
    return text, open_room


def _shown(key: RoomKey) -> JsonObject:
    return {
        "first_message_index": key.first_message_index,
        "forwarded_count": key.forwarded_count,
        "is_verified": key.is_verified,
        "session_data": orjson.Fragment(key.session_data),
    }


def _etag(version: BackupVersion) -> JsonObject:
    return {"etag": str(version.etag), "count": version.size}


def _number(version: str | None) -> int | None:
    """None for what no version is called."""
    return int(version) if version is not None and _VERSION.fullmatch(version) else None


def _text(value: JsonObject) -> str:
    return canonical_json.encode(value).decode()


def _no_backup() -> MatrixError:
    return not_found("No backup found")
