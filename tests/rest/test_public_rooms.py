"""The directory of rooms over HTTP."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers import public_rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.room_closure import close_room, reopen_room
from synapse_lite.storage.rooms import room_by_id
from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer

FIELDS = {"room_id", "num_joined_members", "world_readable", "guest_can_join", "join_rule"}


async def listed(server: TestServer, token: str, **body: Any) -> str:
    return (await server.room(token, visibility="public", **body)).removeprefix("rooms/")


def ids(page: dict[str, Any]) -> list[str]:
    return [room["room_id"] for room in page["chunk"]]


@ensureDeferred
async def test_networks(build_server: BuildServer) -> None:
    """One of them has no rooms here; one and all of them cannot be asked for together."""
    server = await build_server()
    token = await server.user("alice")
    await server.room(token, visibility="public")
    for body, found in (({"third_party_instance_id": "irc|x"}, 0), ({"include_all_networks": True}, 1)):
        assert len((await server.ok("POST", "publicRooms", body, token))["chunk"]) == found
    both = {"third_party_instance_id": "irc|x", "include_all_networks": True}
    for wrong in (both, {"third_party_instance_id": "*"}, {"third_party_instance_id": ""}):
        assert await server.refusal("POST", "publicRooms", wrong, token) == (400, "M_INVALID_PARAM")
    assert len((await server.ok("GET", f"publicRooms?server={SERVER.upper()}", token=token))["chunk"]) == 1


@ensureDeferred
async def test_what_is_listed(server: TestServer) -> None:
    """Published rooms that one can enter, knock at or read; with exactly the keys of the specification."""
    alice, bob = await server.user("alice"), await server.user("bob")
    plain = await listed(server, alice)
    full = await listed(server, alice, name="Café", topic="Talk", room_alias_name="cafe",
        creation_content={"type": "m.space"}, initial_state=[
            {"type": "m.room.avatar", "content": {"url": "mxc://hs.test/a"}},
            {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}},
            {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}},
        ])  # fmt: skip
    await listed(server, alice, preset="private_chat")
    await server.room(alice)
    await server.ok("POST", f"join/{full}", {}, bob)
    page = await server.ok("GET", "publicRooms", token=bob)
    assert page == {
        "chunk": [
            {
                "room_id": full, "num_joined_members": 2, "world_readable": True, "guest_can_join": True,
                "join_rule": "public", "name": "Café", "topic": "Talk", "canonical_alias": "#cafe:hs.test",
                "avatar_url": "mxc://hs.test/a", "room_type": "m.space",
            },
            {
                "room_id": plain, "num_joined_members": 1, "world_readable": False, "guest_can_join": False,
                "join_rule": "public",
            },
        ],
        "total_room_count_estimate": 2,
    }  # fmt: skip
    await server.ok("POST", f"rooms/{plain}/leave", {}, alice)
    assert ids(await server.ok("GET", "publicRooms", token=bob)) == [full]


@ensureDeferred
async def test_searching(server: TestServer) -> None:
    """By part of name, topic or alias in whatever case, without patterns; by type, or none."""
    alice = await server.user("alice")
    cats = await listed(server, alice, name="Cats & 100% dogs")
    birds = await listed(server, alice, topic="all about BIRDS", creation_content={"type": "m.space"})
    den = await listed(server, alice, room_alias_name="den")

    async def search(**wanted: Any) -> set[str]:
        return set(ids(await server.ok("POST", "publicRooms", {"filter": wanted}, alice)))

    assert await search(generic_search_term="cATS") == {cats}
    assert await search(generic_search_term="birds") == {birds}
    assert await search(generic_search_term="#den") == {den}
    assert await search(generic_search_term="100%") == {cats}
    assert await search(generic_search_term="_") == set()
    assert await search(room_types=["m.space"]) == {birds}
    assert await search(room_types=[None]) == {cats, den}
    assert await search(room_types=[None, "m.space"]) == {cats, birds, den}
    assert await search(room_types=[]) == set()


@ensureDeferred
async def test_the_directory_follows_the_rooms(server: TestServer) -> None:
    """What a published room is called, who is in it and whether it is open: as it is now, not as it was published."""
    alice, bob = await server.user("alice"), await server.user("bob")
    tea, cake = await listed(server, alice, name="Tea"), await listed(server, alice, name="Cake")

    async def found(term: str | None = None) -> list[str]:
        body = {"filter": {"generic_search_term": term}} if term else {}
        return ids(await server.ok("POST", "publicRooms", body, alice))

    await server.ok("PUT", f"rooms/{tea}/state/m.room.name", {"name": "Coffee"}, alice)
    assert (await found("coffee"), await found("tea")) == ([tea], [])
    assert await found() == [cake, tea]
    await server.ok("POST", f"join/{tea}", {}, bob)
    assert await found() == [tea, cake]
    await server.ok("PUT", f"rooms/{tea}/state/m.room.join_rules", {"join_rule": "invite"}, alice)
    assert await found() == [cake]
    await server.ok("PUT", f"rooms/{tea}/state/m.room.join_rules", {"join_rule": "knock"}, alice)
    assert await found() == [tea, cake]
    named = await server.ok("PUT", f"rooms/{tea}/state/m.room.name", {"name": "Secret"}, alice)
    await server.ok("PUT", f"rooms/{tea}/redact/{named['event_id']}/1", {}, alice)
    assert await found("secret") == []


@ensureDeferred
async def test_a_room_that_is_deleted(server: TestServer) -> None:
    """It is gone from the directory when its deletion begins, and back if that is given up."""
    alice = await server.user("alice")
    tea = await listed(server, alice)

    def switch(txn: Transaction, *, closed: bool) -> None:
        room = room_by_id(txn, tea)
        assert room is not None
        if closed:
            close_room(txn, room.nid, 1)
        else:
            reopen_room(txn, room.nid)

    for closed in (True, False):
        await server.database.transact(switch, closed=closed)
        assert ids(await server.ok("GET", "publicRooms", token=alice)) == ([] if closed else [tea])


@ensureDeferred
async def test_the_estimate(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rooms of the directory, whatever is searched; of a large directory counted now and then."""
    alice = await server.user("alice")
    await listed(server, alice, name="Tea")

    async def estimate(term: str) -> object:
        body = {"filter": {"generic_search_term": term}}
        return (await server.ok("POST", "publicRooms", body, alice))["total_room_count_estimate"]

    assert await estimate("nothing") == 1
    monkeypatch.setattr(public_rooms, "COUNTED", 1)
    await listed(server, alice, name="Cake")
    assert await estimate("tea") == 2
    await listed(server, alice)
    assert await estimate("tea") == 2
    server.clock.advance(public_rooms.COUNT_SECONDS + 1)
    assert await estimate("tea") == 3


@ensureDeferred
async def test_pages_are_stable(server: TestServer) -> None:
    """Rooms that come and go between pages make no other appear twice or never; and there is a way back."""
    alice = await server.user("alice")
    rooms = [await listed(server, alice) for _ in range(5)]
    first = await server.ok("POST", "publicRooms", {"limit": 2, "since": ""}, alice)
    assert first == await server.ok("GET", "publicRooms?limit=2&since=", token=alice)
    assert "prev_batch" not in first
    await server.ok("PUT", f"directory/list/room/{ids(first)[0]}", {"visibility": "private"}, alice)
    newest = await listed(server, alice)
    second = await server.ok("GET", f"publicRooms?limit=2&since={first['next_batch']}", token=alice)
    body = {"limit": 2, "since": second["next_batch"]}
    third = await server.ok("POST", "publicRooms", body, alice)
    assert sorted(ids(first) + ids(second) + ids(third)) == sorted(rooms)
    assert "next_batch" not in third
    back = await server.ok("GET", f"publicRooms?limit=2&since={third['prev_batch']}", token=alice)
    assert ids(back) == ids(second)
    start = await server.ok("GET", f"publicRooms?limit=9&since={back['prev_batch']}", token=alice)
    assert ids(start) == [newest, ids(first)[1]]
    assert "prev_batch" not in start


@ensureDeferred
async def test_bad_questions(server: TestServer) -> None:
    """Wrong types, unknown tokens, no token at all."""
    alice = await server.user("alice")
    for body, code in (
        ({"limit": "x"}, "M_BAD_JSON"),
        ({"limit": -1}, "M_INVALID_PARAM"),
        ({"since": "x"}, "M_INVALID_PARAM"),
        ({"filter": []}, "M_BAD_JSON"),
        ({"filter": {"room_types": [1]}}, "M_BAD_JSON"),
        ({"filter": {"generic_search_term": "\0"}}, "M_INVALID_PARAM"),
    ):
        assert await server.refusal("POST", "publicRooms", body, alice) == (400, code)
    assert (await server.ok("POST", "publicRooms?server=", {"since": ""}, alice))["chunk"] == []
    assert (await server.ok("GET", "publicRooms?server=&since=", token=alice))["chunk"] == []
    assert await server.refusal("GET", "publicRooms") == (401, "M_MISSING_TOKEN")
    assert await server.refusal("GET", "publicRooms?server=no%20server", token=alice) == (
        400,
        "M_INVALID_PARAM",
    )
    unreachable = await server.refusal("GET", "publicRooms?server=other.test", token=alice)
    assert unreachable == (502, "M_UNKNOWN")


@ensureDeferred
async def test_options(build_server: BuildServer) -> None:
    """Anybody reads it where that is allowed; where searching is off there is nothing."""
    server = await build_server(**OPEN, allow_public_rooms_without_auth=True)
    room_id = await listed(server, await server.user("alice"))
    assert ids(await server.ok("GET", "publicRooms")) == [room_id]
    closed = await build_server(**OPEN, enable_room_list_search=False)
    token = await closed.user("bob")
    assert ids(await closed.ok("GET", "publicRooms", token=token)) == []
