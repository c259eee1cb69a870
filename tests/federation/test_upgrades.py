"""Rooms that are replaced by users of other servers (client-server API, "Room Upgrades")."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from tests.federation.conftest import JoinNetwork
from tests.federation.pair import HOME, home, join_path, tell_newest
from tests.server import TestServer, path_part

ALIAS = "directory/room/" + path_part("#den:hs.test")
NOISY: JsonObject = {"users_default": 100}


@ensureDeferred
@pytest.mark.parametrize("version", ["11", "12"])
async def test_names_of_a_room_that_another_server_replaces(
    server: TestServer, join_network: JoinNetwork, version: str
) -> None:
    """Once somebody of ours is there, our alias names the new room, and our directory shows it."""
    there, alice, old = await home(join_network, room_version="10", power_level_content_override=NOISY)
    bob = await server.user("bob")
    await server.ok("POST", join_path(old, HOME), {}, bob)
    await server.ok("PUT", ALIAS, {"room_id": old}, bob)
    await server.ok("PUT", f"directory/list/room/{path_part(old)}", {"visibility": "public"}, bob)
    body = {"new_version": version}
    upgraded = await there.ok("POST", f"rooms/{path_part(old)}/upgrade", body, alice)
    new = upgraded["replacement_room"]
    await tell_newest(there, server, old)
    assert (await server.ok("GET", ALIAS, token=bob))["room_id"] == old
    await server.ok("POST", join_path(new, HOME), {}, bob)
    assert (await server.ok("GET", ALIAS, token=bob))["room_id"] == new
    shown = (await server.ok("GET", "publicRooms", token=bob))["chunk"]
    assert [room["room_id"] for room in shown] == [new]


@ensureDeferred
async def test_a_tombstone_that_comes_after_the_join(server: TestServer, join_network: JoinNetwork) -> None:
    """All that would have come along with the join comes with the tombstone: names, and what the user has set for the old room."""
    there, alice, old = await home(join_network, room_version="10", power_level_content_override=NOISY)
    bob = await server.user("bob")
    await server.ok("POST", join_path(old, HOME), {}, bob)
    await server.ok("PUT", ALIAS, {"room_id": old}, bob)
    await server.ok("PUT", f"directory/list/room/{path_part(old)}", {"visibility": "public"}, bob)
    tags, direct = {"tags": {"u.work": {"order": 0.5}}}, {"@x:hs.test": [old]}
    user = f"user/{path_part('@bob:hs.test')}"
    await server.ok("PUT", f"{user}/rooms/{path_part(old)}/account_data/m.tag", tags, bob)
    await server.ok("PUT", f"{user}/account_data/m.direct", direct, bob)
    await server.ok("PUT", f"pushrules/global/room/{path_part(old)}", {"actions": []}, bob)
    upgraded = await there.ok("POST", f"rooms/{path_part(old)}/upgrade", {"new_version": "11"}, alice)
    new = upgraded["replacement_room"]
    await server.ok("POST", join_path(new, HOME), {}, bob)
    assert (await server.ok("GET", ALIAS, token=bob))["room_id"] == old
    await tell_newest(there, server, old)
    assert (await server.ok("GET", ALIAS, token=bob))["room_id"] == new
    shown = (await server.ok("GET", "publicRooms", token=bob))["chunk"]
    assert [room["room_id"] for room in shown] == [new]
    path = f"{user}/rooms/{path_part(new)}/account_data/m.tag"
    assert await server.ok("GET", path, token=bob) == tags
    assert await server.ok("GET", f"{user}/account_data/m.direct", token=bob) == {"@x:hs.test": [old, new]}
    assert await server.ok("GET", f"pushrules/global/room/{path_part(new)}/actions", token=bob) == {
        "actions": []
    }


@ensureDeferred
async def test_a_room_that_only_says_that_it_replaces_another(
    server: TestServer, join_network: JoinNetwork
) -> None:
    """Nobody takes its names, unless the room that is replaced says so, too."""
    there, alice, old = await home(join_network, power_level_content_override=NOISY)
    bob = await server.user("bob")
    await server.ok("POST", join_path(old, HOME), {}, bob)
    await server.ok("PUT", ALIAS, {"room_id": old}, bob)
    creation = {"creation_content": {"predecessor": {"room_id": old, "event_id": "$last"}}}
    new = (await there.room(alice, **creation)).removeprefix("rooms/")
    await server.ok("POST", join_path(new, HOME), {}, bob)
    assert (await server.ok("GET", ALIAS, token=bob))["room_id"] == old
