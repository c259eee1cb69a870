"""Events of which only a redacted copy came at first (synapse#16765)."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.matrix.event import Event
from synapse_lite.matrix.redaction import redact
from synapse_lite.rooms.completion import is_missed
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from tests.federation.network import Scripted
from tests.federation.remote_room import RemoteRoom, catch_up, remote_room, second_process, send
from tests.rest.talk import Talk
from tests.server import TestServer, path_part


def copy_of(event: Event) -> dict[str, Any]:
    """The event as a server tells it that may not show it."""
    return redact(event.pdu, event.version)


async def on_disk(room: RemoteRoom, event: Event) -> dict[str, Any]:
    """The content that is stored, whatever is in memory."""

    def read(txn: Transaction) -> dict[str, Any]:
        return EventStore(0).by_ids(txn, [event.event_id])[event.event_id].event.content

    return await room.server.database.read(read)


async def page(room: RemoteRoom, token: str) -> dict[str, Any]:
    """Contents by event id, as a client reads them that scrolls up."""
    path = f"rooms/{path_part(room.room_id)}/messages?dir=b&limit=20"
    answer = await room.server.ok("GET", path, token=token)
    return {event["event_id"]: event["content"] for event in answer["chunk"]}


@ensureDeferred
@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
async def test_the_whole_event_comes_later(server: TestServer, other: Scripted, version: str) -> None:
    """Who pages sees what it says from then on, and what it relates to; a copy that comes again takes nothing away."""
    room, token = await remote_room(server, other, room_version=version)
    parent, relation = room.tips[0].event_id, {"rel_type": "m.thread"}
    event = await room.build(
        "m.room.message",
        {"msgtype": "m.text", "body": "hi", "m.relates_to": {**relation, "event_id": parent}},
    )
    assert await send(server, other, copy_of(event)) == {event.event_id: {}}
    assert (await page(room, token))[event.event_id] == {}
    related = f"/_matrix/client/v1/rooms/{path_part(room.room_id)}/relations/{path_part(parent)}"
    assert (await server.ok("GET", related, token=token))["chunk"] == []
    assert await send(server, other, event.pdu) == {event.event_id: {}}
    for _ in range(2):
        assert (await page(room, token))[event.event_id]["body"] == "hi"
        assert await on_disk(room, event) == event.content
        (found,) = (await server.ok("GET", related, token=token))["chunk"]
        assert found["event_id"] == event.event_id
        for again in (event.pdu, copy_of(event)):
            await send(server, other, again)


@ensureDeferred
async def test_what_was_redacted_stays_so(server: TestServer, other: Scripted) -> None:
    """A copy of an event that is known to be redacted is all there is to be."""
    room, token = await remote_room(server, other)
    event = await room.say("secret")
    await send(server, other, copy_of(event))
    await room.look()
    redaction = await room.build("m.room.redaction", {"redacts": event.event_id}, redacts=event.event_id)
    assert await send(server, other, redaction.pdu) == {redaction.event_id: {}}
    await send(server, other, event.pdu)
    assert (await page(room, token))[event.event_id] == {}
    assert await on_disk(room, event) == {}


@ensureDeferred
async def test_another_content_is_no_more_of_it(server: TestServer, other: Scripted) -> None:
    """Only what the hash covers completes a copy."""
    room, _ = await remote_room(server, other)
    event = await room.say("true")
    await send(server, other, copy_of(event))
    await send(server, other, {**event.pdu, "content": {"msgtype": "m.text", "body": "false"}})
    assert await on_disk(room, event) == {}


@ensureDeferred
async def test_state(server: TestServer, other: Scripted) -> None:
    """What is in force says more than before: clients are told, and the room's members by name."""
    room, token = await remote_room(server, other)
    content = {"membership": "join", "displayname": "Carol"}
    event = await room.build("m.room.member", content, room.user)
    await send(server, other, copy_of(event))
    state = f"rooms/{path_part(room.room_id)}/state/m.room.member/{path_part(room.user)}"
    assert await server.ok("GET", state, token=token) == {"membership": "join"}
    since = (await server.ok("GET", "sync", token=token))["next_batch"]
    await send(server, other, event.pdu)
    assert await server.ok("GET", state, token=token) == content
    synced = (await server.ok("GET", f"sync?since={since}", token=token))["rooms"]["join"][room.room_id]
    told = [*synced["state"]["events"], *synced["timeline"]["events"]]
    assert [one["content"] for one in told if one["type"] == "m.room.member"] == [content]
    assert await room.membership(room.user) == "join"


@ensureDeferred
async def test_a_copy_that_is_known_by_itself(server: TestServer, other: Scripted) -> None:
    """An outlier of which there is a copy is stored whole when it finds its place."""
    room, token = await remote_room(server, other)
    event = await room.build("m.room.member", {"membership": "join", "displayname": "Carol"}, room.user)
    copy = Event.from_pdu(copy_of(event), event.version, event.event_id)
    await server.core.federated.receiver.store_outliers((await room.room()).nid, [copy])
    await send(server, other, event.pdu)
    assert await on_disk(room, event) == event.content
    assert (await page(room, token))[event.event_id]["displayname"] == "Carol"


@ensureDeferred
async def test_other_processes(
    server: TestServer, other: Scripted, database_arguments: dict[str, Any]
) -> None:
    """One that has the copy in memory, or reads it just then, forgets it."""
    room, token = await remote_room(server, other)
    event = await room.say("hi")
    await send(server, other, copy_of(event))
    async with second_process(server, database_arguments) as second:
        there = RemoteRoom(second, other, room.room_id)
        assert (await page(there, token))[event.event_id] == {}
        copy = await there.stored(event)
        await send(server, other, event.pdu)
        await catch_up(second)
        assert copy is not None
        second.core.events.remember(copy, "{}")  # by a reading that began before
        assert (await page(there, token))[event.event_id]["body"] == "hi"


@ensureDeferred
async def test_search(server: TestServer, other: Scripted) -> None:
    """What it says is found once it is known, where the event stands, also by one who has the copy in memory."""
    room, token = await remote_room(server, other)
    talk = Talk(server, token, "", f"rooms/{room.room_id}")
    event = await room.say("found at last")
    await send(server, other, copy_of(event))
    await send(server, other, (await room.say("found first", previous=[event])).pdu)
    await talk.index()
    copy = await room.stored(event)
    await send(server, other, event.pdu)
    assert copy is not None
    server.core.events._cache.put(copy.nid, copy)
    await talk.index()
    assert (await talk.ids("found"))[1:] == [event.event_id]


@ensureDeferred
async def test_what_others_are_judged_by(server: TestServer, other: Scripted) -> None:
    """The rules of the room looked at the copy: content by which they decide is not added later."""
    room, _ = await remote_room(server, other)
    join = {"membership": "join", "displayname": "Carol"}
    expected = {
        ("m.room.topic", ""): ({"topic": "x"}, True),
        ("m.room.member", room.user): (join, True),
        ("m.room.member", "@dave:other.test"): ({**join, "join_authorised_via_users_server": "@a:b"}, False),
        ("m.room.power_levels", ""): ({"notifications": {"room": 1}}, False),
        ("m.room.join_rules", ""): ({"join_rule": "public", "more": 1}, False),
    }
    for (kind, state_key), (content, is_completed) in expected.items():
        event = await room.build(kind, content, state_key)
        copy = Event.from_pdu(copy_of(event), event.version, event.event_id)
        assert is_missed(event, StoredEvent(1, 1, copy, 1, 1)) is is_completed, kind
        assert not is_missed(copy, StoredEvent(1, 1, event, 1, 1))
