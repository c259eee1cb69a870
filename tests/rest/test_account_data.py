"""Account data, tags and filters over HTTP."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.server import TestServer, user_path

ROOM = "rooms/!room%3Ahs.test"


async def _user_with_room(server: TestServer) -> str:
    await server.database.transact(
        lambda txn: txn.execute(
            "INSERT INTO rooms (room_id, version, creator, created_ts) VALUES ('!room:hs.test', '11', '', 1)"
        )
    )
    return await server.register("name")


@ensureDeferred
async def test_account_data_is_read_as_written(server: TestServer) -> None:
    """For the user and for a room, each on its own."""
    token = await _user_with_room(server)
    for place, content in (("account_data/m.test", {"a": 1}), (f"{ROOM}/account_data/m.test", {"b": "\0"})):
        path = user_path("name", place)
        assert await server.refusal("GET", path, None, token) == (404, "M_NOT_FOUND")
        assert await server.ok("PUT", path, content, token) == {}
        assert await server.ok("GET", path, None, token) == content
    path = user_path("name", "account_data/m.fully_read")
    answer = await server.call("PUT", path, {}, token)
    assert answer.status == 405
    assert answer.json() == {
        "errcode": "M_BAD_JSON",
        "error": "Cannot set m.fully_read through this API.",
    }
    assert await server.refusal("PUT", user_path("name", "account_data/m.test"), [], token) == (
        400,
        "M_BAD_JSON",
    )


@ensureDeferred
async def test_data_of_rooms_that_are_none(server: TestServer) -> None:
    """What is no id of a room is told from a room that nobody knows."""
    token = await server.register("name")
    for room_id, refusal in (("room", (400, "M_INVALID_PARAM")), ("!room:hs.test", (404, "M_NOT_FOUND"))):
        path = user_path("name", f"rooms/{room_id}/account_data/m.test")
        assert await server.refusal("GET", path, None, token) == refusal
        assert await server.refusal("PUT", path, {}, token) == refusal


@ensureDeferred
async def test_deleted_data_is_as_if_never_set(server: TestServer) -> None:
    """Who follows is told of empty content, who begins of none; a second time nobody is told anything (MSC3391)."""
    token = await server.user("name")
    room = await server.room(token)
    room_id = room.removeprefix("rooms/")
    unstable = "/_matrix/client/unstable/org.matrix.msc3391"
    paths = [user_path("name", place) for place in ("account_data/m.test", f"{room}/account_data/m.test")]
    for path in paths:
        await server.ok("PUT", path, {"a": 1}, token)
    since = (await server.ok("GET", "sync", None, token))["next_batch"]
    for path in paths:
        assert await server.ok("DELETE", f"{unstable}/{path}", None, token) == {}
        assert await server.refusal("GET", path, None, token) == (404, "M_NOT_FOUND")
    told = await server.ok("GET", f"sync?since={since}", None, token)
    deleted = [{"type": "m.test", "content": {}}]
    assert told["account_data"]["events"] == deleted
    assert told["rooms"]["join"][room_id]["account_data"]["events"] == deleted
    begun = await server.ok("GET", "sync", None, token)
    assert "m.test" not in str(begun["account_data"])
    assert begun["rooms"]["join"][room_id]["account_data"]["events"] == []
    for path in paths:
        await server.ok("DELETE", f"{unstable}/{path}", None, token)
    later = await server.ok("GET", f"sync?since={told['next_batch']}", None, token)
    assert later["next_batch"] == told["next_batch"]
    fully_read = user_path("name", "account_data/m.fully_read")
    assert (await server.call("DELETE", f"{unstable}/{fully_read}", None, token)).status == 405
    assert await server.refusal("DELETE", f"{unstable}/{paths[0]}", None, await server.user("other")) == (
        403,
        "M_FORBIDDEN",
    )


@ensureDeferred
async def test_tags_come_and_go(server: TestServer) -> None:
    """One by one."""
    token = await _user_with_room(server)
    tags = user_path("name", f"{ROOM}/tags")
    assert await server.ok("GET", tags, None, token) == {"tags": {}}
    assert await server.ok("PUT", f"{tags}/m.favourite", {"order": 0.5}, token) == {}
    await server.ok("PUT", f"{tags}/u.a%2Fb", {}, token)
    assert await server.ok("GET", tags, None, token) == {"tags": {"m.favourite": {"order": 0.5}, "u.a/b": {}}}
    assert await server.ok("DELETE", f"{tags}/u.a%2Fb", None, token) == {}
    assert await server.ok("GET", tags, None, token) == {"tags": {"m.favourite": {"order": 0.5}}}
    assert await server.refusal("PUT", f"{tags}/m.favourite", {"order": "1"}, token) == (400, "M_BAD_JSON")


@ensureDeferred
async def test_filters_are_stored_once_and_checked(server: TestServer) -> None:
    """Unknown fields are kept; fields of the wrong shape are named."""
    token = await server.register("name")
    path = user_path("name", "filter")
    definition = {"room": {"timeline": {"limit": 5, "types": ["a"]}, "x": 1}, "event_fields": ["content"]}
    filter_id = (await server.ok("POST", path, definition, token))["filter_id"]
    assert await server.ok("POST", path, definition, token) == {"filter_id": filter_id}
    assert await server.ok("GET", f"{path}/{filter_id}", None, token) == definition
    assert await server.refusal("GET", f"{path}/999", None, token) == (404, "M_NOT_FOUND")
    bad: list[Any] = [
        {"room": []},
        {"room": {"timeline": {"limit": "5"}}},
        {"room": {"timeline": {"limit": -2}}},
        {"room": {"state": {"types": "a"}}},
        {"account_data": {"senders": [1]}},
        {"event_fields": "content"},
        [],
    ]
    for body in bad:
        assert await server.refusal("POST", path, body, token) == (400, "M_BAD_JSON"), body
    answer = await server.call("POST", path, bad[1], token)
    assert "limit" in answer.json()["error"]


@ensureDeferred
async def test_everything_here_is_private(server: TestServer) -> None:
    """Other users are refused, whether the owner exists or not."""
    await server.register("name")
    other = await server.register("other")
    requests = [
        ("GET", "account_data/m.test", None),
        ("PUT", "account_data/m.test", {}),
        ("GET", f"{ROOM}/account_data/m.test", None),
        ("PUT", f"{ROOM}/account_data/m.test", {}),
        ("GET", f"{ROOM}/tags", None),
        ("PUT", f"{ROOM}/tags/t", {}),
        ("DELETE", f"{ROOM}/tags/t", None),
        ("POST", "filter", {}),
        ("GET", "filter/1", None),
    ]
    for method, rest, body in requests:
        for owner in ("name", "nobody"):
            path = user_path(owner, rest)
            assert await server.refusal(method, path, body, other) == (403, "M_FORBIDDEN"), path
        assert await server.refusal(method, user_path("other", rest), body) == (401, "M_MISSING_TOKEN")


@ensureDeferred
async def test_integers_are_kept_or_refused(server: TestServer) -> None:
    """What 64 bits hold comes back digit by digit; a larger integer is refused, never rounded."""
    token = await _user_with_room(server)
    path = user_path("name", "account_data/m.test")
    for text in (b'{"n":18446744073709551615}', b'{"n":-9223372036854775808,"s":"123456789012345678901234"}'):
        await server.ok("PUT", path, text, token)
        assert (await server.call("GET", path, None, token)).body == text
    large = b'{"n": [123456789012345678901234567890]}'
    for place in (path, user_path("name", f"{ROOM}/account_data/m.test"), f"profile/@name:{SERVER}/m.test"):
        assert await server.refusal("PUT", place, large, token) == (400, "M_BAD_JSON")
    assert (await server.call("GET", path, None, token)).body == text
