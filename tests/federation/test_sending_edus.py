"""What this server tells others beside events."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.federation.peers import PeerError
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import remote_room, send
from tests.federation.sending import Inbox, Sending
from tests.server import TestServer, path_part
from tests.signing import Device

ALICE = "@alice:hs.test"


def of(inbox: Inbox, edu_type: str) -> list[Any]:
    return [edu["content"] for edu in inbox.edus if edu["edu_type"] == edu_type]


@ensureDeferred
async def test_typing_and_receipts(server: TestServer, other: Scripted, network: Network) -> None:
    """Who types and who has read what, but for private receipts, goes to the servers of the room, and to no others."""
    inbox, sending = Inbox(other), Sending(server)
    stranger = Inbox(network.scripted("stranger.test"))
    room, token = await remote_room(server, other)
    said = await room.say("read this")
    await send(server, other, said.pdu)
    user = path_part(ALICE)
    for typing in (True, False):
        body = {"typing": typing, "timeout": 30_000}
        await server.ok("PUT", f"rooms/{room.room_id}/typing/{user}", body, token)
        await sending.deliver()
    assert of(inbox, "m.typing") == [
        {"room_id": room.room_id, "user_id": ALICE, "typing": typing} for typing in (True, False)
    ]
    path = f"rooms/{room.room_id}/receipt"
    await server.ok("POST", f"{path}/m.read.private/{path_part(said.event_id)}", {}, token)
    await sending.deliver()
    assert of(inbox, "m.receipt") == []
    for body in ({}, {"thread_id": "main"}):
        await server.ok("POST", f"{path}/m.read/{path_part(said.event_id)}", body, token)
    await sending.deliver()
    told = [one[room.room_id]["m.read"][ALICE] for one in of(inbox, "m.receipt")]
    assert [one["event_ids"] for one in told] == [[said.event_id]] * 2
    assert [one["data"].get("thread_id") for one in told] == [None, "main"]
    assert stranger.bodies == []


@ensureDeferred
async def test_who_goes_on_typing(server: TestServer, other: Scripted) -> None:
    """Other servers hear of it again, as they forget it after half a minute; but not each time that the client says so."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    path = f"rooms/{room.room_id}/typing/{path_part(ALICE)}"
    for _ in range(9):
        await server.ok("PUT", path, {"typing": True, "timeout": 30_000}, token)
        await sending.deliver()
        server.clock.advance(5)
    assert [one["typing"] for one in of(inbox, "m.typing")] == [True] * 3


@ensureDeferred
async def test_what_passes_is_not_kept_for_those_who_are_away(server: TestServer, other: Scripted) -> None:
    """Of typing only the last word waits; a server that is away for long is not told at all."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    inbox.clear()
    inbox.answers.append(PeerError("nobody is there"))
    path = f"rooms/{room.room_id}/typing/{path_part(ALICE)}"
    await server.ok("PUT", f"{path}", {"typing": True, "timeout": 30_000}, token)
    await sending.deliver()
    for typing in (False, True, False):
        await server.ok("PUT", path, {"typing": typing, "timeout": 30_000}, token)
        await sending.follow()
    server.clock.advance(6)
    await sending.settled()
    assert [one["typing"] for one in of(inbox, "m.typing")] == [False]
    await server.database.transact(lambda txn: txn.execute("UPDATE destinations SET behind = TRUE"))
    await server.ok("PUT", path, {"typing": True, "timeout": 30_000}, token)
    await sending.deliver()
    assert len(of(inbox, "m.typing")) == 1


@ensureDeferred
async def test_messages_to_devices(server: TestServer, other: Scripted) -> None:
    """Each once, whatever the outage; those for devices of ours do not leave the server."""
    inbox, sending = Inbox(other), Sending(server)
    token = await server.user("alice")
    carol = f"@carol:{other.name}"
    body = {"messages": {carol: {"PHONE": {"a": 1}, "*": {"b": 2}}, ALICE: {"*": {"c": 3}}}}
    inbox.answers.append(PeerError("nobody is there"))
    for _ in range(2):
        await server.ok("PUT", "sendToDevice/m.test/once", body, token)
    await sending.settled()
    server.clock.advance(6)
    await sending.settled()
    (message,) = of(inbox, "m.direct_to_device")
    assert len(message.pop("message_id")) == 32
    assert message == {
        "sender": ALICE,
        "type": "m.test",
        "messages": {carol: {"PHONE": {"a": 1}, "*": {"b": 2}}},
    }


@ensureDeferred
async def test_large_messages_are_sent_in_parts(server: TestServer, other: Scripted) -> None:
    """An EDU holds about 256 KiB, a transaction a mebibyte; all of it arrives."""
    inbox, sending = Inbox(other), Sending(server)
    token = await server.user("alice")
    carol = f"@carol:{other.name}"
    body = {"messages": {carol: {f"D{number}": {"x": "y" * 60_000} for number in range(40)}}}
    await server.ok("PUT", "sendToDevice/m.test/large", body, token)
    await sending.settled()
    parts = of(inbox, "m.direct_to_device")
    assert sorted(name for part in parts for name in part["messages"][carol]) == sorted(
        body["messages"][carol]
    )
    assert max(len(part["messages"][carol]) for part in parts) == 4
    assert [len(one["edus"]) for one in inbox.bodies] == [4, 4, 2]


@ensureDeferred
async def test_device_lists(server: TestServer, other: Scripted) -> None:
    """New, signed and deleted devices are told to those who share a room, each update after the one before."""
    inbox, sending = Inbox(other), Sending(server)
    _, token = await remote_room(server, other)
    await sending.deliver()
    device_id = (await server.ok("GET", "account/whoami", None, token))["device_id"]
    device = Device.of(ALICE, device_id)
    await server.ok("POST", "keys/upload", {"device_keys": device.keys}, token)
    await sending.deliver()
    await server.ok("PUT", f"devices/{device_id}", {"display_name": "phone"}, token)
    await sending.deliver()
    first, second = of(inbox, "m.device_list_update")
    assert first["keys"]["keys"] == device.keys["keys"]
    assert (first["user_id"], first["device_id"], first["prev_id"]) == (ALICE, device_id, [])
    assert second["prev_id"] == [first["stream_id"]]
    assert "device_display_name" not in second
    target = f"/_matrix/federation/v1/user/devices/{path_part(ALICE)}"
    status, answer = await other.ask(server, "GET", target)
    assert (status, answer["stream_id"]) == (200, second["stream_id"])
    await server.ok("POST", "logout", {}, token)
    await sending.deliver()
    third = of(inbox, "m.device_list_update")[-1]
    assert (third["deleted"], third["prev_id"]) == (True, [second["stream_id"]])
