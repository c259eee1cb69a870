"""Sliding sync of rooms that began on another server."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.sliding_sync.reading import SlidingReader
from tests.federation.conftest import JoinNetwork
from tests.federation.pair import home, join_path, tell_newest
from tests.rest.sliding_sync import ALL, sync
from tests.server import TestServer, path_part


@ensureDeferred
async def test_who_comes_is_no_news_of_a_silent_room(
    server: TestServer, join_network: JoinNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing was said since somebody here came, the stamp is that of the room's beginning here, also from memory."""
    there, alice, room_id = await home(join_network)
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, there.name), {}, bob)
    room = f"rooms/{path_part(room_id)}"
    first = await sync(server, bob, ALL)
    stamp = first["rooms"][room_id]["bump_stamp"]
    assert stamp > 0
    me = f"{room}/state/m.room.member/{path_part(f'@alice:{there.name}')}"
    await there.ok("PUT", me, {"membership": "join", "displayname": "A"}, alice)
    await tell_newest(there, server, room_id)
    second = await sync(server, bob, ALL, first["pos"])
    assert second["rooms"][room_id]["timeline"]
    assert second["rooms"][room_id]["bump_stamp"] == stamp
    pos = (await sync(server, bob, ALL, second["pos"]))["pos"]
    monkeypatch.setattr(SlidingReader, "read", None)
    await there.ok("PUT", f"{room}/state/m.room.topic", {"topic": "Tea"}, alice)
    await tell_newest(there, server, room_id)
    third = await sync(server, bob, ALL, pos)
    assert third["rooms"][room_id]["timeline"]
    assert third["rooms"][room_id]["bump_stamp"] == stamp
