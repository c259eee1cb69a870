"""What /sync tells of encryption: messages to the device and key counts."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers import to_device
from tests.rest.encrypting_clients import client_of, room_of, turn, up_to_date
from tests.server import TestServer

SECTIONS = ("to_device", "device_lists")
COUNTS = {
    "device_one_time_keys_count": {"signed_curve25519": 0},
    "device_unused_fallback_key_types": [],
}


@ensureDeferred
async def test_counts_stand_in_every_answer(server: TestServer) -> None:
    """Of a new device, of one that has keys, after a time-out; as of when the answer is written."""
    alice = await client_of(server, "alice", "A")
    first = await alice.sync()
    assert {key: first[key] for key in COUNTS} == COUNTS
    again = await alice.sync()
    assert {key: again[key] for key in COUNTS} == COUNTS
    waiting = await alice.poll()
    assert not waiting.called
    await alice.upload(
        one_time_keys=alice.device.one_time_keys("1", "2"), fallback_keys=alice.device.fallback_keys("F")
    )
    server.clock.advance(30)
    answer = await waiting
    assert answer["device_one_time_keys_count"] == {"signed_curve25519": 2}
    assert answer["device_unused_fallback_key_types"] == ["signed_curve25519"]
    assert "to_device" not in answer


@ensureDeferred
async def test_counts_follow_each_change(server: TestServer) -> None:
    """One-time keys alone, a fallback key alone, a claim that leaves some: the next answer has the counts after it."""
    alice = await client_of(server, "alice", "A")

    async def counts() -> tuple[int, list[str]]:
        answer = await alice.sync()
        return answer["device_one_time_keys_count"]["signed_curve25519"], answer[
            "device_unused_fallback_key_types"
        ]

    assert [await counts(), await counts()] == [(0, [])] * 2  # in memory from now on
    await alice.upload(one_time_keys=alice.device.one_time_keys("1", "2"))
    assert await counts() == (2, [])
    await alice.upload(fallback_keys=alice.device.fallback_keys("F"))
    assert await counts() == (2, ["signed_curve25519"])
    await alice.do("POST", "keys/claim", {"one_time_keys": {alice.user_id: {"A": "signed_curve25519"}}})
    assert await counts() == (1, ["signed_curve25519"])


@ensureDeferred
async def test_counts_alone_wake_nobody_but_an_empty_store_does(server: TestServer) -> None:
    """A claim that leaves keys ends no poll; the last key and the first use of the fallback key do, once."""
    alice = await client_of(server, "alice", "A")
    bob = await client_of(server, "bob", "B")
    await alice.upload(
        one_time_keys=alice.device.one_time_keys("1", "2"), fallback_keys=alice.device.fallback_keys("F")
    )
    await up_to_date(alice)
    waiting = await alice.poll()
    wanted = {"one_time_keys": {alice.user_id: {"A": "signed_curve25519"}}}
    await bob.do("POST", "keys/claim", wanted)
    for _ in range(20):
        await turn()
    assert not waiting.called
    await bob.do("POST", "keys/claim", wanted)
    assert (await waiting)["device_one_time_keys_count"] == {"signed_curve25519": 0}
    waiting = await alice.poll()
    await bob.do("POST", "keys/claim", wanted)
    assert (await waiting)["device_unused_fallback_key_types"] == []
    waiting = await alice.poll()
    await bob.do("POST", "keys/claim", wanted)
    for _ in range(20):
        await turn()
    assert not waiting.called
    server.clock.advance(30)
    await waiting


@ensureDeferred
async def test_messages_come_in_order_until_they_are_acknowledged(server: TestServer) -> None:
    """The same token gives the same messages; the next one deletes them; an old one brings none back."""
    alice = await client_of(server, "alice", "A")
    bob = await client_of(server, "bob", "B")
    await up_to_date(alice)
    before = alice.since
    for number in range(3):
        await bob.send(str(number), {alice.user_id: {"A": {"number": number}}})
    answer = await alice.sync()
    assert answer["to_device"]["events"] == [
        {"type": "m.test", "sender": bob.user_id, "content": {"number": number}} for number in range(3)
    ]
    first, alice.since = alice.since, before
    assert await alice.messages() == [{"number": number} for number in range(3)]
    await bob.send("3", {alice.user_id: {"A": {"number": 3}}})
    alice.since = first
    assert await alice.messages() == [{"number": 3}]
    alice.since = before
    assert await alice.messages() == [{"number": 3}]
    assert await alice.messages() == []
    alice.since = None
    assert await alice.messages() == []


@ensureDeferred
async def test_a_message_ends_the_poll_of_its_device_only(server: TestServer) -> None:
    """Other devices of the user sleep on, and their messages are their own."""
    alice = await client_of(server, "alice", "A")
    second = await client_of(server, "alice", "A2", new=False)
    bob = await client_of(server, "bob", "B")
    await up_to_date(alice, second)
    await up_to_date(alice, second)
    waiting, sleeping = await alice.poll(), await second.poll()
    await bob.send("1", {alice.user_id: {"A": {"for": "A"}}})
    assert [event["content"] for event in (await waiting)["to_device"]["events"]] == [{"for": "A"}]
    for _ in range(20):
        await turn()
    assert not sleeping.called
    await bob.send("2", {alice.user_id: {"*": {"for": "all"}}})
    assert [event["content"] for event in (await sleeping)["to_device"]["events"]] == [{"for": "all"}]
    assert await alice.messages() == [{"for": "all"}]
    assert await second.messages() == []


@ensureDeferred
async def test_a_device_acknowledges_for_itself(server: TestServer) -> None:
    """What one device of a user has, the other still gets."""
    alice = await client_of(server, "alice", "A")
    second = await client_of(server, "alice", "A2", new=False)
    bob = await client_of(server, "bob", "B")
    await bob.send("1", {alice.user_id: {"*": {"for": "all"}}})
    assert await alice.messages() == [{"for": "all"}]
    assert await alice.messages() == []
    assert await second.messages() == [{"for": "all"}]


@ensureDeferred
async def test_a_request_that_is_sent_again_sends_nothing(server: TestServer) -> None:
    """By device, type and transaction id; unknown devices, users and servers are no error."""
    alice = await client_of(server, "alice", "A")
    bob = await client_of(server, "bob", "B")
    messages = {
        alice.user_id: {"A": {"n": 1}, "gone": {}},
        "@nobody:hs.test": {"*": {}},
        "@far:x.test": {"X": {}},
    }
    for _ in range(2):
        await bob.send("1", messages)
    await bob.send("1", {alice.user_id: {"A": {"n": 2}}}, "m.other")
    await alice.send("1", {alice.user_id: {"A": {"n": 3}}})
    assert await alice.messages() == [{"n": 1}, {"n": 2}, {"n": 3}]


@ensureDeferred
async def test_a_large_inbox_comes_in_pieces_without_waiting(server: TestServer) -> None:
    """At most a hundred messages in an answer; the next sync answers at once, and no message is lost."""
    alice = await client_of(server, "alice", "A")
    bob = await client_of(server, "bob", "B")
    await up_to_date(alice)
    for number in range(250):
        await bob.send(str(number), {alice.user_id: {"A": {"n": number}}})
    pieces = []
    for _ in range(3):
        answer = await alice.sync(wait_ms=30_000)
        pieces.append([event["content"]["n"] for event in answer["to_device"]["events"]])
    assert list(map(len, pieces)) == [100, 100, 50]
    assert [number for piece in pieces for number in piece] == list(range(250))
    assert await alice.messages() == []
    rows = await server.database.read(lambda txn: txn.value("SELECT count(*) FROM device_inbox"))
    assert rows == 0


@ensureDeferred
async def test_only_a_message_that_is_too_large_is_refused(server: TestServer) -> None:
    """Hundreds of devices are no problem; one message beyond the size of an event is 413, and nothing is sent."""
    alice = await client_of(server, "alice", "A")
    bob = await client_of(server, "bob", "B")
    large = {"text": "x" * to_device.MAX_MESSAGE_BYTES}
    body = {"messages": {alice.user_id: {"A": {"n": 1}}, bob.user_id: {"B": large}}}
    assert await server.refusal("PUT", "sendToDevice/m.test/1", body, bob.token) == (413, "M_TOO_LARGE")
    assert await alice.messages() == []
    many = {alice.user_id: {**{f"D{number}": {"text": "x" * 1000} for number in range(300)}, "A": {"n": 2}}}
    await bob.send("2", many)
    assert await alice.messages() == [{"n": 2}]
    for bad, code in (
        ({}, "M_MISSING_PARAM"),
        ({"messages": []}, "M_BAD_JSON"),
        ({"messages": {"alice": {}}}, "M_INVALID_PARAM"),
        ({"messages": {alice.user_id: []}}, "M_BAD_JSON"),
        ({"messages": {alice.user_id: {"A": "text"}}}, "M_BAD_JSON"),
        ({"messages": {alice.user_id: {"a\0": {}}}}, "M_INVALID_PARAM"),
    ):
        assert await server.refusal("PUT", "sendToDevice/m.test/3", bad, bob.token) == (400, code)


@ensureDeferred
async def test_a_token_without_a_device_has_no_keys(server: TestServer) -> None:
    """An administrator who acts as a user gets no messages and no counts, and uploads no keys."""
    alice = await client_of(server, "alice", "A")
    session = await server.core.accounts.access_tokens.open_without_device(alice.user_id, None)
    answer = await server.ok("GET", "sync", token=session.token)
    assert not {*SECTIONS, *COUNTS} & answer.keys()
    assert await server.refusal("POST", "keys/upload", {}, session.token) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_a_message_reaches_an_encrypting_client_from_memory(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll as Element's, with counts of keys: woken by a message, it asks the database nothing."""
    alice, bob = [await client_of(server, name, "D") for name in ("alice", "bob")]
    room = await room_of(alice, bob)
    state = {"lazy_load_members": True}
    wanted = {"room": {"timeline": {"limit": 20, "unread_thread_notifications": True}, "state": state}}
    bob.filter = f"&filter={quote(json.dumps(wanted))}"
    send = f"{room}/send/m.room.encrypted/"
    for number in range(2):
        await up_to_date(bob)
        waiting = await bob.poll()
        await alice.do("PUT", f"{send}{number}", {"ciphertext": "x"})
        await waiting
    waiting = await bob.poll()
    asked = _readings(server, monkeypatch)
    await alice.do("PUT", f"{send}last", {"ciphertext": "x"})
    answer = await waiting
    assert asked == []
    assert answer["device_one_time_keys_count"] == {"signed_curve25519": 0}
    events = next(iter(answer["rooms"]["join"].values()))["timeline"]["events"]
    assert [event["type"] for event in events] == ["m.room.encrypted"]


@ensureDeferred
async def test_devices_that_fetch_their_messages_at_once_are_read_together(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a message to hundreds: rooms, counts of keys and inboxes take the same few readings, however many they are."""
    clients = [await client_of(server, f"user{number}", "D") for number in range(12)]
    await up_to_date(*clients)
    await clients[0].send("1", {client.user_id: {"D": {"for": client.user_id}} for client in clients})
    asked = _readings(server, monkeypatch)
    inboxes = await gatherResults([Deferred.fromCoroutine(client.messages()) for client in clients])
    assert inboxes == [[{"for": client.user_id}] for client in clients]
    assert len(asked) < len(clients)


def _readings(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is asked of the database from now on."""
    asked: list[object] = []
    for name in ("read", "snapshot"):
        method = getattr(server.database, name)

        async def note(function: object, *arguments: object, method: Any = method, **more: object) -> object:
            asked.append(function)
            return await method(function, *arguments, **more)

        monkeypatch.setattr(server.database, name, note)
    return asked


@ensureDeferred
async def test_a_first_sync_whose_rooms_are_remembered(server: TestServer) -> None:
    """Its token is as old as what it tells of the rooms: what came since then comes with the next one, and once."""
    alice, bob = await client_of(server, "alice", "A"), await client_of(server, "bob", "B")
    await room_of(alice, bob)
    other = await client_of(server, "alice", "C", new=False)
    await bob.send("1", {alice.user_id: {"*": {"n": 1}}})
    await alice.sync()
    await bob.send("2", {alice.user_id: {"*": {"n": 2}}})
    await client_of(server, "bob", "D", new=False)
    assert await other.messages() == [{"n": 1}]
    assert other.since == alice.since
    answer = await other.sync()
    assert [event["content"] for event in answer["to_device"]["events"]] == [{"n": 2}]
    assert answer["device_lists"] == {"changed": [bob.user_id], "left": []}
    assert (await other.sync()).keys().isdisjoint(SECTIONS)
