"""Backups of room keys over HTTP."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers import key_backup as handler
from synapse_lite.http import json_stream
from synapse_lite.storage import key_backup
from tests.rest.contention import locked_until_met
from tests.rest.test_sliding_sync_live import count_statements
from tests.server import TestServer

ROOM, OTHER = "!room:hs.test", "!other:hs.test"
ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"


def _version(**auth_data: Any) -> dict[str, Any]:
    return {"algorithm": ALGORITHM, "auth_data": {"public_key": "key", **auth_data}}


def _key(
    text: str = "secret", index: int = 0, forwarded: int = 0, *, verified: bool = True
) -> dict[str, Any]:
    return {
        "first_message_index": index,
        "forwarded_count": forwarded,
        "is_verified": verified,
        "session_data": {"ciphertext": text},
    }


async def _create(server: TestServer, token: str) -> str:
    return str((await server.ok("POST", "room_keys/version", _version(), token))["version"])


def _keys(version: str, *scope: str) -> str:
    return f"{'/'.join(('room_keys/keys', *scope))}?version={version}"


@ensureDeferred
async def test_versions_come_and_go(server: TestServer) -> None:
    """The newest that is left is the current one; a number is never given again."""
    token = await server.register("alice")
    assert await server.refusal("GET", "room_keys/version", token=token) == (404, "M_NOT_FOUND")
    first = await _create(server, token)
    second = await _create(server, token)
    current = await server.ok("GET", "room_keys/version", token=token)
    assert current == {**_version(), "version": second, "count": 0, "etag": "0"}
    assert await server.ok("DELETE", f"room_keys/version/{second}", token=token) == {}
    assert (await server.ok("GET", "room_keys/version", token=token))["version"] == first
    third = await _create(server, token)
    assert int(first) < int(second) < int(third)
    for method, path in (("GET", second), ("DELETE", second), ("GET", "x"), ("GET", "-1"), ("GET", "9" * 30)):
        assert await server.refusal(method, f"room_keys/version/{path}", token=token) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_a_version_is_updated_in_place(server: TestServer) -> None:
    """Only its auth data; another algorithm or another version in the body is refused."""
    token = await server.register("alice")
    version = await _create(server, token)
    path = f"room_keys/version/{version}"
    for _ in range(2):
        assert await server.ok("PUT", path, {**_version(more=1), "version": version}, token) == {}
    assert (await server.ok("GET", path, token=token))["auth_data"] == {"public_key": "key", "more": 1}
    assert (await server.ok("GET", "room_keys/version", token=token))["version"] == version
    for body in ({**_version(), "algorithm": "other"}, {**_version(), "version": "99"}):
        assert await server.refusal("PUT", path, body, token) == (400, "M_INVALID_PARAM")
    for body, code in (
        ({"algorithm": "x"}, "M_MISSING_PARAM"),
        ({**_version(), "auth_data": 1}, "M_BAD_JSON"),
    ):
        assert await server.refusal("PUT", path, body, token) == (400, code)
        assert await server.refusal("POST", "room_keys/version", body, token) == (400, code)
    assert await server.refusal("PUT", "room_keys/version/99", _version(), token) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_keys_are_stored_and_read(server: TestServer) -> None:
    """All of them, those of a room, or one; what is not there is empty, a single key 404."""
    token = await server.register("alice")
    version = await _create(server, token)
    assert await server.ok("GET", _keys(version), token=token) == {"rooms": {}}
    assert await server.ok("GET", _keys(version, ROOM), token=token) == {"sessions": {}}
    assert await server.refusal("GET", _keys(version, ROOM, "s"), token=token) == (404, "M_NOT_FOUND")
    answer = await server.ok("PUT", _keys(version, ROOM, "s%2F1"), _key(), token)
    assert answer == {"count": 1, "etag": "1"}
    sessions = {"sessions": {"s2": _key("two"), "s3": _key("three")}}
    assert (await server.ok("PUT", _keys(version, ROOM), sessions, token))["count"] == 3
    rooms = {"rooms": {"!other:hs.test": {"sessions": {"s4": _key("four")}}}}
    assert (await server.ok("PUT", _keys(version), rooms, token))["count"] == 4
    assert await server.ok("GET", _keys(version, ROOM, "s2"), token=token) == _key("two")
    found = await server.ok("GET", _keys(version), token=token)
    assert found["rooms"]["!other:hs.test"] == {"sessions": {"s4": _key("four")}}
    assert set(found["rooms"][ROOM]["sessions"]) == {"s/1", "s2", "s3"}
    assert (await server.ok("DELETE", _keys(version, ROOM, "s2"), token=token))["count"] == 3
    assert (await server.ok("DELETE", _keys(version, ROOM), token=token))["count"] == 1
    deleted = await server.ok("DELETE", _keys(version), token=token)
    assert deleted["count"] == 0
    assert await server.ok("DELETE", _keys(version), token=token) == deleted
    other = await server.register("bob")
    assert await server.refusal("GET", _keys(version), token=other) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_count_and_etag_move_with_the_keys_only(server: TestServer) -> None:
    """Twenty uploads at once, half of them of nothing new: the count is right, no-ops keep the etag."""
    token = await server.register("alice")
    version = await _create(server, token)

    async def put(number: int) -> None:
        await server.ok("PUT", _keys(version, ROOM, f"s{number % 10}"), _key(), token)

    await gatherResults([Deferred.fromCoroutine(put(number)) for number in range(20)])
    info = await server.ok("GET", "room_keys/version", token=token)
    assert (info["count"], info["etag"]) == (10, "10")
    worse = await server.ok("PUT", _keys(version, ROOM, "s1"), _key("worse", index=1), token)
    assert worse == {"count": 10, "etag": "10"}
    assert await server.ok("GET", _keys(version, ROOM, "s1"), token=token) == _key()
    for index, etag in ((1, "11"), (0, "12")):
        stored = await server.ok("PUT", _keys(version, ROOM, "better"), _key(index=index), token)
        assert stored == {"count": 11, "etag": etag}
    await server.ok("PUT", f"room_keys/version/{version}", _version(more=1), token)
    info = await server.ok("GET", "room_keys/version", token=token)
    assert (info["count"], info["etag"]) == (11, "12"), "the auth data are no keys"


@ensureDeferred
async def test_the_better_of_two_keys_at_once_stays(server: TestServer) -> None:
    """Whichever comes first: neither has seen the other one stored. It is one key."""
    token = await server.register("alice")
    version = await _create(server, token)
    for number, keys in enumerate(([_key(), _key(index=1)], [_key(index=1), _key()])):
        path = _keys(version, ROOM, f"s{number}")
        async with locked_until_met(server, 2, "SELECT FROM key_backups WHERE version = %s", [int(version)]):
            uploads = [Deferred.fromCoroutine(server.ok("PUT", path, key, token)) for key in keys]
        await gatherResults(uploads)
        assert await server.ok("GET", path, token=token) == _key()
        assert (await server.ok("GET", "room_keys/version", token=token))["count"] == number + 1


@ensureDeferred
async def test_two_versions_at_once(server: TestServer) -> None:
    """Each has a number of its own."""
    token = await server.register("alice")
    async with locked_until_met(server, 2, "SELECT FROM users WHERE user_id = %s", ["@alice:hs.test"]):
        versions = [Deferred.fromCoroutine(_create(server, token)) for _ in range(2)]
    assert sorted(await gatherResults(versions)) == ["1", "2"]


@ensureDeferred
async def test_only_the_current_version_takes_keys(server: TestServer) -> None:
    """Others say which one it is; they can still be read and emptied."""
    token = await server.register("alice")
    old = await _create(server, token)
    await server.ok("PUT", _keys(old, ROOM, "s"), _key(), token)
    new = await _create(server, token)
    for scope, body in (((), {"rooms": {}}), ((ROOM,), {"sessions": {}}), ((ROOM, "s"), _key())):
        answer = await server.call("PUT", _keys(old, *scope), body, token)
        assert (answer.status, answer.json()["errcode"]) == (403, "M_WRONG_ROOM_KEYS_VERSION")
        assert answer.json()["current_version"] == new
        assert await server.refusal("PUT", _keys("99", *scope), body, token) == (404, "M_NOT_FOUND")
        without = _keys(old, *scope).partition("?")[0]
        assert await server.refusal("PUT", without, body, token) == (400, "M_MISSING_PARAM")
    assert await server.ok("GET", _keys(old, ROOM, "s"), token=token) == _key()
    assert (await server.ok("DELETE", _keys(old), token=token))["count"] == 0


@ensureDeferred
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"first_message_index": None}, "M_BAD_JSON"),
        ({"first_message_index": -1}, "M_INVALID_PARAM"),
        ({"forwarded_count": "1"}, "M_BAD_JSON"),
        ({"is_verified": 1}, "M_BAD_JSON"),
        ({"session_data": "text"}, "M_BAD_JSON"),
        ({"session_data": {"number": 1.5}}, "M_BAD_JSON"),
        ({"session_data": {"ciphertext": "x" * 70_000}}, "M_TOO_LARGE"),
    ],
)
async def test_a_bad_key_is_named(server: TestServer, change: Any, code: str) -> None:
    """The answer says which session is wrong, and nothing of the request is stored."""
    token = await server.register("alice")
    version = await _create(server, token)
    body = {"rooms": {ROOM: {"sessions": {"good": _key(), "bad one": {**_key(), **change}}}}}
    answer = await server.call("PUT", _keys(version), body, token)
    assert answer.json()["errcode"] == code
    assert "bad one" in answer.json()["error"]
    assert (await server.ok("GET", "room_keys/version", token=token))["count"] == 0


@ensureDeferred
async def test_the_keys_of_a_deleted_version_go(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some with it, the others in bounded steps afterwards."""
    monkeypatch.setattr(key_backup, "DELETED_AT_ONCE", 2)
    token = await server.register("alice")
    version = await _create(server, token)
    sessions = {"sessions": {f"s{number}": _key() for number in range(7)}}
    await server.ok("PUT", _keys(version, ROOM), sessions, token)
    await server.ok("DELETE", f"room_keys/version/{version}", token=token)
    steps = [await server.database.transact(key_backup.delete_keys_of_deleted, 3) for _ in range(3)]
    assert steps == [3, 2, 0]
    rows = await server.database.read(lambda txn: txn.value("SELECT count(*) FROM key_backup_sessions"))
    assert rows == 0


@ensureDeferred
async def test_many_keys_are_deleted_in_bounded_steps(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them before the answer, those of another room not."""
    monkeypatch.setattr(key_backup, "DELETED_AT_ONCE", 2)
    token = await server.register("alice")
    version = await _create(server, token)
    sessions = {"sessions": {f"s{number}": _key() for number in range(4)}}
    for room in (ROOM, OTHER):
        await server.ok("PUT", _keys(version, room), sessions, token)
    sent: list[str] = []
    with count_statements(sent):
        assert (await server.ok("DELETE", _keys(version, ROOM), token=token))["count"] == 4
    assert len([sql for sql in sent if sql.startswith("DELETE FROM key_backup_sessions")]) == 3
    assert (await server.ok("GET", _keys(version, OTHER), token=token)) == sessions


@pytest.mark.parametrize("page", [1, 2, 3, 5, 50])
@ensureDeferred
async def test_a_backup_is_sent_as_it_is_read(
    server: TestServer, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Wherever a page ends, within a room or between two, the answer is the whole backup, or that of a room."""
    monkeypatch.setattr(handler, "PAGE", page)
    monkeypatch.setattr(json_stream, "PIECE_BYTES", 100)
    token = await server.register("alice")
    version = await _create(server, token)
    assert await server.ok("GET", _keys(version), token=token) == {"rooms": {}}
    rooms = {
        f"!{number}:hs.test": {"sessions": {f"s{one}": _key(str(one)) for one in range(number)}}
        for number in range(1, 5)
    }
    await server.ok("PUT", _keys(version), {"rooms": rooms}, token)
    assert await server.ok("GET", _keys(version), token=token) == {"rooms": rooms}
    for room_id, room in rooms.items():
        assert await server.ok("GET", _keys(version, room_id), token=token) == room
    assert await server.ok("GET", _keys(version, "!none:hs.test"), token=token) == {"sessions": {}}
