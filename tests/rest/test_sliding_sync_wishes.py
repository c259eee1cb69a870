"""Sliding sync: what a client asks for belongs to the position that it is at, and lists follow what the user says of rooms."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.sliding_sync.reading import SlidingReader
from tests.rest.conftest import BuildServer
from tests.rest.sliding_sync import ALL, BOB, LIST, MERGED, PATH, UNKNOWN_POS, id_of, say, sync
from tests.server import OPEN, TestServer, user_path


@ensureDeferred
async def test_what_the_user_says_of_rooms_moves_them(server: TestServer) -> None:
    """Into lists of direct chats and of favourites, and out of them, for a client that goes on."""
    token = await server.user("alice")
    room = await server.room(token)
    filters: dict[str, Any] = {"direct": {"is_dm": True}, "dear": {"tags": ["m.favourite"]}}
    body = {"lists": {name: {**LIST, "filters": one} for name, one in filters.items()}}
    tag = user_path("alice", f"{room}/tags/m.favourite")
    direct = user_path("alice", "account_data/m.direct")
    pos = (await sync(server, token, body))["pos"]
    for method, path, content, expected in (
        ("PUT", direct, {BOB: [id_of(room)]}, (1, 0)),
        ("PUT", tag, {}, (1, 1)),
        ("PUT", direct, {}, (0, 1)),
        ("DELETE", tag, None, (0, 0)),
    ):
        await server.ok(method, path, content, token)
        answer = await sync(server, token, body, pos)
        assert tuple(answer["lists"][name]["count"] for name in filters) == expected
        pos = answer["pos"]


@ensureDeferred
async def test_a_confirmed_position_belongs_to_its_connection(build_server: BuildServer) -> None:
    """Also at another process, and while it is the only one."""
    server, other = await build_server(**OPEN), await build_server(**OPEN)
    token = await server.user("alice")
    await server.room(token)
    pos = (await sync(server, token, ALL))["pos"]
    pos = (await sync(server, token, ALL, pos))["pos"]
    for one in (server, other):
        asked = f"{PATH}?pos={pos}", {**ALL, "conn_id": "b"}
        assert await one.refusal("POST", *asked, token) == UNKNOWN_POS


@ensureDeferred
async def test_nothing_is_written_for_a_position_that_was_left(build_server: BuildServer) -> None:
    """Another process has led the client on: who asks for something else at the old position begins anew."""
    one, other = await build_server(**OPEN), await build_server(**OPEN)
    token = await one.user("alice")
    await one.room(token)
    first = await sync(one, token, ALL)
    old = (await sync(one, token, ALL, first["pos"]))["pos"]
    more = {"lists": {"all": {**LIST, "timeline_limit": 9}}}
    pos = (await sync(other, token, more, old))["pos"]
    pos = (await sync(other, token, more, pos))["pos"]
    wish = {"lists": {"all": {**LIST, "timeline_limit": 8}}}
    assert await one.refusal("POST", f"{PATH}?pos={old}", wish, token) == UNKNOWN_POS
    assert (await sync(one, token, more, pos))["rooms"] == {}


@ensureDeferred
async def test_other_wishes_have_another_position(server: TestServer) -> None:
    """Also where they change nothing of what the client knows: else each poll would be answered at once."""
    token = await server.user("alice")
    await server.room(token)
    body = ALL
    pos = (await sync(server, token, body))["pos"]
    rows = [pos.partition("_")[0]]
    for filters in ({"is_invite": False}, {"is_dm": False}):
        body = {"lists": {"all": {**LIST, "filters": filters}}}
        pos = (await sync(server, token, body, pos))["pos"]
        rows.append(pos.partition("_")[0])
    assert len(set(rows)) == len(rows)


@ensureDeferred
async def test_the_merged_form_names_lists_from_memory(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the database does."""
    token = await server.user("alice")
    room = await server.room(token)
    wanted = {"range": [0, 9], "required_state": {}, "timeline_limit": 3}
    body: dict[str, Any] = {"lists": {"all": wanted}}
    for text in ("one", "two", "three"):
        answer = await server.ok("POST", MERGED, body, token)
        body["pos"] = answer["pos"]
        if text == "three":
            monkeypatch.setattr(SlidingReader, "read", None)
        await say(server, token, room, text)
    answer = await server.ok("POST", MERGED, body, token)
    assert answer["rooms"][id_of(room)]["lists"] == ["all"]
