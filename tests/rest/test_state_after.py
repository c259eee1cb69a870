"""The state at the end of timelines, in /sync (MSC4222)."""

from typing import Any
from urllib.parse import quote

import orjson
import pytest
from pytest_twisted import ensureDeferred

from tests.server import TestServer

UNSTABLE = "org.matrix.msc4222."


async def room_of(server: TestServer, token: str, query: str) -> tuple[dict[str, Any], str]:
    answer = await server.ok("GET", f"sync?{query}", None, token)
    rooms: list[dict[str, Any]] = list(answer.get("rooms", {}).get("join", {}).values())
    return rooms[0] if rooms else {}, answer["next_batch"]


def told(room: dict[str, Any], name: str = "state_after") -> dict[str, Any]:
    return {
        event["type"] + (f" {event['state_key']}" if event["state_key"] else ""): event["content"]
        for event in room[name]["events"]
    }


def filtered(**room: Any) -> str:
    return f"&filter={quote(orjson.dumps({'room': room}).decode())}"


@ensureDeferred
async def test_the_state_is_that_after_the_timeline(server: TestServer) -> None:
    """At first all of it, then what changed, whether the timeline shows it or has a gap; `state` is not there."""
    alice = await server.user("alice")
    room = await server.room(alice, name="first")
    first, since = await room_of(server, alice, "use_state_after=true")
    assert told(first)["m.room.name"] == {"name": "first"}
    assert "m.room.create" in told(first)
    assert "state" not in first
    for name in ("second", "third"):
        await server.ok("PUT", f"{room}/state/m.room.name", {"name": name}, alice)
    await server.ok("PUT", f"{room}/state/m.room.topic", {"topic": "x"}, alice)
    expected = {"m.room.name": {"name": "third"}, "m.room.topic": {"topic": "x"}}
    for limit in (10, 1):
        query = f"use_state_after=true&since={since}" + filtered(timeline={"limit": limit})
        later, _ = await room_of(server, alice, query)
        assert later["timeline"]["limited"] == (limit == 1)
        assert told(later) == expected
    hiding = filtered(state={"types": ["m.room.topic"]}, timeline={"types": []})
    later, _ = await room_of(server, alice, f"use_state_after=true&since={since}{hiding}")
    assert told(later) == {"m.room.topic": {"topic": "x"}}
    before, _ = await room_of(server, alice, f"since={since}")
    assert (before["state"]["events"], "state_after" in before) == ([], False)


@ensureDeferred
async def test_members_who_speak(server: TestServer) -> None:
    """Who loads members lazily gets those of the timeline."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice)
    await server.ok("POST", f"{room}/join", {}, bob)
    await server.ok("PUT", f"{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}, bob)
    lazy = filtered(state={"lazy_load_members": True}, timeline={"limit": 1})
    first, _ = await room_of(server, alice, f"use_state_after=true{lazy}")
    assert {"m.room.member @alice:hs.test", "m.room.member @bob:hs.test"} <= told(first).keys()


@pytest.mark.parametrize("enabled", [True, False])
@ensureDeferred
async def test_the_unstable_name(server: TestServer, *, enabled: bool) -> None:
    """For users for whom it is turned on."""
    admin = await server.user("admin", is_admin=True)
    alice = await server.user("alice")
    path = "/_synapse/admin/v1/experimental_features/@alice:hs.test"
    await server.ok("PUT", path, {"features": {"msc4222": enabled}}, admin)
    await server.room(alice, name="first")
    found, _ = await room_of(server, alice, f"{UNSTABLE}use_state_after=true")
    assert (f"{UNSTABLE}state_after" in found) == enabled
    assert ("state" in found) != enabled
