"""Account data, tags and filters over HTTP."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.matrix.push_rules import default_push_rules
from tests.rest.home import Home, user_path

ROOM = "rooms/!room%3Ahs.test"


async def _user_with_room(home: Home) -> str:
    await home.database.transact(
        lambda txn: txn.execute(
            "INSERT INTO rooms (room_id, version, creator, created_ts) VALUES ('!room:hs.test', '11', '', 1)"
        )
    )
    return await home.register("name")


@ensureDeferred
async def test_account_data_is_read_as_written(home: Home) -> None:
    """For the user and for a room, each on its own."""
    token = await _user_with_room(home)
    for place, content in (("account_data/m.test", {"a": 1}), (f"{ROOM}/account_data/m.test", {"b": "\0"})):
        path = user_path("name", place)
        assert await home.refusal("GET", path, None, token) == (404, "M_NOT_FOUND")
        assert await home.ok("PUT", path, content, token) == {}
        assert await home.ok("GET", path, None, token) == content
    path = user_path("name", "account_data/m.fully_read")
    answer = await home.call("PUT", path, {}, token)
    assert answer.status == 405
    assert answer.json() == {
        "errcode": "M_BAD_JSON",
        "error": "Cannot set m.fully_read through this API.",
    }
    assert await home.refusal("PUT", user_path("name", "account_data/m.test"), [], token) == (
        400,
        "M_BAD_JSON",
    )


@ensureDeferred
async def test_tags_come_and_go(home: Home) -> None:
    """One by one."""
    token = await _user_with_room(home)
    tags = user_path("name", f"{ROOM}/tags")
    assert await home.ok("GET", tags, None, token) == {"tags": {}}
    assert await home.ok("PUT", f"{tags}/m.favourite", {"order": 0.5}, token) == {}
    await home.ok("PUT", f"{tags}/u.a%2Fb", {}, token)
    assert await home.ok("GET", tags, None, token) == {"tags": {"m.favourite": {"order": 0.5}, "u.a/b": {}}}
    assert await home.ok("DELETE", f"{tags}/u.a%2Fb", None, token) == {}
    assert await home.ok("GET", tags, None, token) == {"tags": {"m.favourite": {"order": 0.5}}}
    assert await home.refusal("PUT", f"{tags}/m.favourite", {"order": "1"}, token) == (400, "M_BAD_JSON")


@ensureDeferred
async def test_filters_are_stored_once_and_checked(home: Home) -> None:
    """Unknown fields are kept; fields of the wrong shape are named."""
    token = await home.register("name")
    path = user_path("name", "filter")
    definition = {"room": {"timeline": {"limit": 5, "types": ["a"]}, "x": 1}, "event_fields": ["content"]}
    filter_id = (await home.ok("POST", path, definition, token))["filter_id"]
    assert await home.ok("POST", path, definition, token) == {"filter_id": filter_id}
    assert await home.ok("GET", f"{path}/{filter_id}", None, token) == definition
    assert await home.refusal("GET", f"{path}/999", None, token) == (404, "M_NOT_FOUND")
    bad: list[Any] = [
        {"room": []},
        {"room": {"timeline": {"limit": "5"}}},
        {"room": {"timeline": {"limit": -1}}},
        {"room": {"state": {"types": "a"}}},
        {"account_data": {"senders": [1]}},
        {"event_fields": "content"},
        [],
    ]
    for body in bad:
        assert await home.refusal("POST", path, body, token) == (400, "M_BAD_JSON"), body
    answer = await home.call("POST", path, bad[1], token)
    assert "limit" in answer.json()["error"]


@ensureDeferred
async def test_everything_here_is_private(home: Home) -> None:
    """Other users are refused, whether the owner exists or not."""
    await home.register("name")
    other = await home.register("other")
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
            assert await home.refusal(method, path, body, other) == (403, "M_FORBIDDEN"), path
        assert await home.refusal(method, user_path("other", rest), body) == (401, "M_MISSING_TOKEN")


@ensureDeferred
async def test_push_rules_can_be_read(home: Home) -> None:
    """All, the global ones, one of them."""
    token = await home.register("name")
    rules = default_push_rules("@name:hs.test")
    assert await home.ok("GET", "pushrules/", None, token) == rules
    assert await home.ok("GET", "pushrules/global/", None, token) == rules["global"]
    master = await home.ok("GET", "pushrules/global/override/.m.rule.master", None, token)
    assert master == rules["global"]["override"][0]
    for path in ("override/no", "odd/.m.rule.master"):
        assert await home.refusal("GET", f"pushrules/global/{path}", None, token) == (404, "M_NOT_FOUND")
    assert await home.refusal("GET", "pushrules/") == (401, "M_MISSING_TOKEN")
