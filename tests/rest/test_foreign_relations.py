"""What relates to an event only by its words: children in other rooms, and state."""

from collections.abc import AsyncIterator

import pytest_twisted
from pytest_twisted import ensureDeferred

from tests.rest.test_relations import Room
from tests.server import TestServer


@pytest_twisted.async_yield_fixture
async def rooms(server: TestServer) -> AsyncIterator[tuple[Room, Room]]:
    """Two, of the same users."""
    alice, bob = await server.register("alice"), await server.register("bob")
    made = []
    for _ in range(2):
        path = await server.room(alice)
        await server.ok("POST", f"{path}/join", {}, bob)
        made.append(Room(server, path.removeprefix("rooms/"), alice, bob))
    yield made[0], made[1]


@ensureDeferred
async def test_children_in_other_rooms_count_nowhere(rooms: tuple[Room, Room]) -> None:
    """Users cannot make any, but other servers can: their events are stored as they come."""
    here, elsewhere = rooms
    parent, other = await here.say("parent"), await elsewhere.say("other")
    for rel_type in ("m.replace", "m.thread", "m.reference"):
        await elsewhere.relate(rel_type, other)
    assert len(await elsewhere.bundled(other)) == 3
    await here.server.database.transact(
        lambda txn: txn.execute("UPDATE relations SET parent_id = %s WHERE parent_id = %s", (parent, other))
    )
    assert await here.bundled(parent) == {}
    await here.relate("m.reference", parent)
    assert list(await here.bundled(parent)) == ["m.reference"]


@ensureDeferred
async def test_state_edits_nothing(rooms: tuple[Room, Room]) -> None:
    """Neither as the parent nor as the edit ("Validity of replacement events")."""
    here, _ = rooms
    parent = await here.send(here.alice, {"value": 1}, "org.test")
    content = {
        "value": 2,
        "m.new_content": {"value": 2},
        "m.relates_to": {"rel_type": "m.replace", "event_id": parent},
    }
    await here.server.ok("PUT", f"{here.path}/state/org.test/key", content, here.alice)
    assert await here.bundled(parent) == {}
