"""What other servers tell beside events: typing, receipts, presence, messages to devices."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from tests.builders import ALICE, SERVER
from tests.federation.network import Scripted
from tests.federation.remote_room import remote_room, send, typists
from tests.server import TestServer, path_part


@ensureDeferred
async def test_typing_and_receipts(server: TestServer, other: Scripted) -> None:
    """Of users of the server that sends them, who are in the room; others have no say."""
    room, token = await remote_room(server, other)
    said = await room.say("hello")
    await send(server, other, said.pdu)
    users = (room.user, f"@stranger:{other.name}", ALICE)
    typing = [
        {"edu_type": "m.typing", "content": {"room_id": room.room_id, "user_id": user, "typing": True}}
        for user in users
    ]
    read = {"data": {"ts": 5, "thread_id": "main"}, "event_ids": [said.event_id]}
    receipt = {
        "edu_type": "m.receipt",
        "content": {room.room_id: {"m.read": dict.fromkeys(users, read)}, "!unknown": {"m.read": {}}},
    }
    await send(server, other, edus=[*typing, receipt, 7, {}, {"edu_type": "unknown", "content": {}}])
    assert await typists(server, room, token) == [room.user]
    synced = await server.ok("GET", "sync", None, token)
    (event,) = [
        event
        for event in synced["rooms"]["join"][room.room_id]["ephemeral"]["events"]
        if event["type"] == "m.receipt"
    ]
    assert event["content"] == {said.event_id: {"m.read": {room.user: {"ts": 5, "thread_id": "main"}}}}
    await send(server, other, edus=[{**typing[0], "content": {**typing[0]["content"], "typing": False}}])
    assert await typists(server, room, token) == []


@ensureDeferred
async def test_who_is_shut_out_tells_nothing(server: TestServer, other: Scripted) -> None:
    """Neither that somebody types nor that they have read: the room's ACL holds for that, too."""
    room, token = await remote_room(server, other)
    said = await room.say("hello")
    await send(server, other, said.pdu)
    acl = {"allow": ["*"], "deny": [other.name]}
    await server.ok("PUT", f"rooms/{path_part(room.room_id)}/state/m.room.server_acl", acl, token)
    typing = {"room_id": room.room_id, "user_id": room.user, "typing": True}
    read = {room.user: {"data": {"ts": 5}, "event_ids": [said.event_id]}}
    edus = [("m.typing", typing), ("m.receipt", {room.room_id: {"m.read": read}})]
    await send(server, other, edus=[{"edu_type": kind, "content": content} for kind, content in edus])
    assert await typists(server, room, token) == []
    synced = await server.ok("GET", "sync", None, token)
    assert synced["rooms"]["join"][room.room_id]["ephemeral"]["events"] == []


@ensureDeferred
async def test_receipts_of_many_rooms(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rooms that nobody knows here cost nothing each, however many one EDU names."""
    room, _ = await remote_room(server, other)
    said = await room.say("hello")
    await send(server, other, said.pdu)
    read = {"m.read": {room.user: {"data": {"ts": 5}, "event_ids": [said.event_id]}}}
    unknown = {f"!{number}:{other.name}": read for number in range(500)}
    nothing = {f"!empty{number}:{other.name}": {"m.read": {}} for number in range(500)}
    statements: list[str] = []
    run = Transaction._run

    def count(txn: Transaction, sql: str, arguments: Any) -> None:
        statements.append(sql)
        run(txn, sql, arguments)

    monkeypatch.setattr(Transaction, "_run", count)
    edu = {"edu_type": "m.receipt", "content": {**unknown, **nothing, room.room_id: read}}
    await send(server, other, edus=[edu])
    assert any("receipts" in sql for sql in statements)
    assert len(statements) < 50


@ensureDeferred
async def test_presence_of_their_users(server: TestServer, other: Scripted) -> None:
    """Those in a room here see it, of the origin's own users who are there too; silence ends it."""
    room, token = await remote_room(server, other)
    since = (await server.ok("GET", "sync", None, token))["next_batch"]
    there = {"presence": "online", "last_active_ago": 5_000, "currently_active": True, "status_msg": "here"}
    pushed: list[Any] = [
        {"user_id": room.user, **there},
        {"user_id": f"@stranger:{other.name}", **there},
        {"user_id": ALICE, "presence": "offline"},
        {"user_id": room.user, "presence": "asleep"},
        {"user_id": 1, "presence": "online"},
        "x",
    ]
    await send(server, other, edus=[{"edu_type": "m.presence", "content": {"push": pushed}}])
    answer = await server.ok("GET", f"sync?since={since}", None, token)
    told = {event["sender"]: event["content"] for event in answer["presence"]["events"]}
    assert told.keys() == {room.user}
    assert told[room.user]["last_active_ago"] >= 5_000
    assert (
        told[room.user].items()
        >= {"presence": "online", "currently_active": True, "status_msg": "here"}.items()
    )
    server.clock.advance(31 * 60)
    await server.core.rooms.presence.beat()
    answer = await server.ok("GET", f"sync?since={answer['next_batch']}", None, token)
    told = {event["sender"]: event["content"] for event in answer["presence"]["events"]}
    assert told[room.user]["presence"] == "offline"


@ensureDeferred
async def test_messages_to_devices_on_behalf_of_another_servers_users(
    server: TestServer, other: Scripted
) -> None:
    """Arrive once, however often they are sent, in the name of the origin's users only, at devices of ours only."""
    token = await server.register("bob", device_id="PHONE")

    def message(sender: str, message_id: str) -> dict[str, Any]:
        messages = {f"@bob:{SERVER}": {"PHONE": {"n": 1}, "GONE": {}}, "@x:third.test": {"*": {}}}
        content = {"sender": sender, "type": "m.test", "message_id": message_id, "messages": messages}
        return {"edu_type": "m.direct_to_device", "content": content}

    carol = f"@carol:{other.name}"
    await send(server, other, edus=[message(carol, "1"), message(carol, "1"), message(ALICE, "2")])
    await send(server, other, edus=[message(carol, "1")])
    synced = await server.ok("GET", "sync", None, token)
    assert synced["to_device"]["events"] == [{"sender": carol, "type": "m.test", "content": {"n": 1}}]


@ensureDeferred
async def test_oversized_messages_to_devices(server: TestServer, other: Scripted) -> None:
    """One that is larger than our own users may send is dropped, and not kept once for each device; those beside it arrive."""
    token = await server.register("bob", device_id="PHONE")
    messages = {f"@bob:{SERVER}": {"PHONE": {"x": "y" * 66_000}}}
    for message_id in ("large", "small"):
        content = {"sender": f"@carol:{other.name}", "type": "m.test", "message_id": message_id}
        edu = {"edu_type": "m.direct_to_device", "content": {**content, "messages": messages}}
        await send(server, other, edus=[edu])
        messages = {f"@bob:{SERVER}": {"PHONE": {"n": 1}}}
    synced = await server.ok("GET", "sync", None, token)
    assert [event["content"] for event in synced["to_device"]["events"]] == [{"n": 1}]


@ensureDeferred
async def test_one_bad_edu_harms_no_other(server: TestServer, other: Scripted) -> None:
    """What cannot be stored, or is of another shape, is dropped; the message behind it arrives."""
    token = await server.register("bob", device_id="PHONE")
    room, _ = await remote_room(server, other)
    carol, bob, odd = room.user, f"@bob:{SERVER}", "\0"
    edus: list[tuple[str, Any]] = []
    for room_id, user_id in ((odd, carol), (room.room_id, odd), (7, carol), (room.room_id, None)):
        edus.append(("m.typing", {"room_id": room_id, "user_id": user_id, "typing": True}))
    for ts in (2**63, True, 1.5, None):
        receipt = {"data": {"ts": ts}, "event_ids": ["$event"]}
        edus.append(("m.receipt", {room.room_id: {"m.read": {carol: receipt, odd: receipt}}}))
    edus.append(("m.receipt", {odd: {"m.read": {carol: {"data": {"ts": 1}, "event_ids": ["$event"]}}}}))
    content = {"sender": carol, "type": "m.test", "message_id": "1", "messages": {bob: {"*": {"n": 2**64}}}}
    edus.append(("m.direct_to_device", content))
    edus.append(
        ("m.direct_to_device", {**content, "message_id": "2", "messages": {f"@{odd}:{SERVER}": {"*": {}}}})
    )
    edus.append(("m.direct_to_device", {**content, "message_id": "3", "messages": {bob: {"*": {"n": 3}}}}))
    await send(server, other, edus=[{"edu_type": kind, "content": content} for kind, content in edus])
    synced = await server.ok("GET", "sync", None, token)
    assert [event["content"] for event in synced["to_device"]["events"]] == [{"n": 3}]
