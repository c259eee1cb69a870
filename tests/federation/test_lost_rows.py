"""Rooms of which something is lost in the database: they go on."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.events import Standing
from tests.federation.network import Scripted
from tests.federation.remote_room import RemoteRoom, remote_room, send
from tests.server import TestServer, path_part


async def lose(room: RemoteRoom, kind: str, state_key: str = "") -> None:
    """The event of that type that is in force, without a trace in memory."""
    event = await room.stored(room.state[kind, state_key])
    assert event is not None
    await room.server.database.transact(
        lambda txn: txn.execute("DELETE FROM events WHERE event_nid = %s", (event.nid,))
    )
    room.server.core.events.forget(event.nid)


async def says(server: TestServer, room: RemoteRoom, token: str) -> list[Any]:
    """What the newest page has of messages and topics."""
    page = await server.ok("GET", f"rooms/{room.room_id}/messages?dir=b&limit=50", token=token)
    return [one["content"].get("body") or one["content"].get("topic") for one in page["chunk"]]


@ensureDeferred
async def test_a_lost_acl(server: TestServer, other: Scripted) -> None:
    """What cannot be read shuts out nobody: the room still receives (synapse#6867)."""
    room, token = await remote_room(server, other)
    await server.ok("PUT", f"rooms/{room.room_id}/state/m.room.server_acl/", {"allow": ["*"]}, token)
    path = f"rooms/{room.room_id}/send/m.room.message/1"
    await server.ok("PUT", path, {"msgtype": "m.text", "body": "before"}, token)
    await room.look()
    await lose(room, "m.room.server_acl")
    said = await room.say("hello")
    assert await send(server, other, said.pdu) == {said.event_id: {}}
    assert (await says(server, room, token))[0] == "hello"


@ensureDeferred
async def test_a_lost_event_of_the_state(server: TestServer, other: Scripted) -> None:
    """Branches meet by what is known, and whoever is in the room reads on (synapse#6605)."""
    levels = {"users": {f"@carol:{other.name}": 50}}
    room, token = await remote_room(server, other, power_level_content_override=levels)
    path = f"rooms/{room.room_id}"
    await server.ok("PUT", f"{path}/state/m.room.topic/", {"topic": "first"}, token)
    await room.look()
    since = (await server.ok("GET", "sync", token=token))["next_batch"]
    await server.ok("PUT", f"{path}/state/m.room.topic/", {"topic": "ours"}, token)
    theirs = await room.build("m.room.topic", {"topic": "theirs"}, "")
    for kind in ("m.room.join_rules", "m.room.history_visibility"):
        await lose(room, kind)
    assert await send(server, other, theirs.pdu) == {theirs.event_id: {}}
    stored = await room.stored(theirs)
    assert stored is not None
    assert stored.standing is Standing.ACCEPTED
    assert (await server.ok("GET", f"{path}/state/m.room.topic/", token=token))["topic"] in {"ours", "theirs"}
    await server.ok("GET", f"sync?since={since}", token=token)
    await server.ok("GET", "sync", token=token)
    await server.ok("PUT", f"{path}/send/m.room.message/1", {"msgtype": "m.text", "body": "on"}, token)


@ensureDeferred
async def test_a_lost_member_who_spoke(
    server: TestServer, other: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    """What they said arrives from memory, also where members are loaded lazily."""
    room, token = await remote_room(server, other)
    path = f"rooms/{room.room_id}"
    bob = await server.user("bob")
    await server.ok("POST", f"{path}/join", {}, bob)
    await room.look()
    lazy = path_part('{"room":{"state":{"lazy_load_members":true}}}')
    since = (await server.ok("GET", f"sync?filter={lazy}", token=token))["next_batch"]
    said = {"msgtype": "m.text", "body": "on"}
    sent = await server.ok("PUT", f"{path}/send/m.room.message/1", said, bob)
    await lose(room, "m.room.member", "@bob:hs.test")
    answer = await server.ok("GET", f"sync?since={since}&filter={lazy}", token=token)
    shown = answer["rooms"]["join"][room.room_id]["timeline"]["events"]
    assert [one["event_id"] for one in shown] == [sent["event_id"]]
    assert "cannot be answered from memory" not in caplog.text


@ensureDeferred
async def test_lost_ends(server: TestServer, other: Scripted) -> None:
    """The room goes on from the events that nothing follows, for its own users and for others."""
    room, token = await remote_room(server, other)
    path = f"rooms/{room.room_id}"
    await server.ok("PUT", f"{path}/send/m.room.message/1", {"msgtype": "m.text", "body": "before"}, token)
    since = (await server.ok("GET", "sync", token=token))["next_batch"]
    await server.ok("PUT", f"{path}/state/m.room.topic/", {"topic": "lost"}, token)
    await room.look()
    (before,) = room.tips[0].prev_events
    await lose(room, "m.room.topic")
    said = {"msgtype": "m.text", "body": "after"}
    sent = await server.ok("PUT", f"{path}/send/m.room.message/2", said, token)
    stored = await room.stored(sent["event_id"])
    assert stored is not None
    assert stored.event.prev_events == [before]
    del room.state["m.room.topic", ""]
    theirs = await room.say("theirs", previous=[stored.event])
    assert await send(server, other, theirs.pdu) == {theirs.event_id: {}}
    assert (await says(server, room, token))[:3] == ["theirs", "after", "before"]
    joined = (await server.ok("GET", f"sync?since={since}", token=token))["rooms"]["join"][room.room_id]
    bodies = [one["content"].get("body") for one in joined["timeline"]["events"]]
    assert bodies == ["after", "theirs"]
    await server.ok("PUT", f"{path}/state/m.room.topic/", {"topic": "again"}, token)


@ensureDeferred
async def test_lost_power_levels(server: TestServer, other: Scripted) -> None:
    """Where nobody knows who may do what nothing is sent, and other rooms are not concerned."""
    room, token = await remote_room(server, other)
    await lose(room, "m.room.power_levels")
    said = {"msgtype": "m.text", "body": "hello"}
    path = f"rooms/{room.room_id}/send/m.room.message/1"
    answer = await server.call("PUT", path, said, token)
    assert (answer.status, answer.json()["errcode"]) == (500, "M_UNKNOWN")
    assert "lost" in answer.json()["error"]
    another = await server.room(token)
    await server.ok("PUT", f"{another}/send/m.room.message/1", said, token)


@ensureDeferred
async def test_lost_guest_access(server: TestServer, other: Scripted) -> None:
    """Where nobody knows who may come in nobody does, and is told why; the members go on."""
    guests = {"type": "m.room.guest_access", "state_key": "", "content": {"guest_access": "can_join"}}
    room, token = await remote_room(server, other, initial_state=[guests])
    await lose(room, "m.room.guest_access")
    bob = await server.user("bob")
    answer = await server.call("POST", f"rooms/{room.room_id}/join", {}, bob)
    assert (answer.status, answer.json()["errcode"]) == (500, "M_UNKNOWN")
    assert "lost the m.room.guest_access" in answer.json()["error"]
    said = {"msgtype": "m.text", "body": "hello"}
    await server.ok("PUT", f"rooms/{room.room_id}/send/m.room.message/1", said, token)


@ensureDeferred
async def test_lost_aliases(server: TestServer, other: Scripted) -> None:
    """Aliases are set and deleted as where none was listed."""
    room, token = await remote_room(server, other)
    state, alias = f"rooms/{room.room_id}/state/m.room.canonical_alias/", "#here:hs.test"
    await server.ok("PUT", f"directory/room/{path_part(alias)}", {"room_id": room.room_id}, token)
    await server.ok("PUT", state, {"alias": alias}, token)
    await room.look()
    await lose(room, "m.room.canonical_alias")
    refused = await server.refusal("PUT", state, {"alt_aliases": ["#elsewhere:hs.test"]}, token)
    assert refused == (400, "M_BAD_ALIAS")
    await server.ok("PUT", state, {"alt_aliases": [alias]}, token)
    await room.look()
    await lose(room, "m.room.canonical_alias")
    await server.ok("DELETE", f"directory/room/{path_part(alias)}", token=token)


@ensureDeferred
async def test_lost_ends_are_told_once(
    server: TestServer, other: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    """However often somebody tries what the room does not let them do."""
    room, token = await remote_room(server, other)
    bob = await server.user("bob")
    await server.ok("POST", f"rooms/{room.room_id}/join", {}, bob)
    await server.ok("PUT", f"rooms/{room.room_id}/state/m.room.topic/", {"topic": "lost"}, token)
    await room.look()
    await lose(room, "m.room.topic")
    for _ in range(3):
        path = f"rooms/{room.room_id}/state/m.room.name/"
        assert (await server.call("PUT", path, {"name": "mine"}, bob)).status == 403
    assert caplog.text.count(f"ends of room {room.room_id} are lost") == 1
