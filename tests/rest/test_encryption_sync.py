"""What /sync tells of encryption: messages to the device, device lists, key counts."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers import to_device
from tests.rest.conftest import BuildServer
from tests.server import OPEN, PASSWORD, TestServer
from tests.signing import Device, Identity

SECTIONS = ("to_device", "device_lists")
COUNTS = {
    "device_one_time_keys_count": {"signed_curve25519": 0},
    "device_unused_fallback_key_types": [],
}


@define
class Client:
    """A device of a user that syncs."""

    server: TestServer
    user_id: str
    device: Device
    token: str
    since: str | None = None
    filter: str = ""

    async def sync(self, *, wait_ms: int = 0) -> JsonObject:
        """The next answer."""
        since = "" if self.since is None else f"&since={self.since}"
        answer: JsonObject = await self.server.ok(
            "GET", f"sync?timeout={wait_ms}{since}{self.filter}", token=self.token
        )
        self.since = answer["next_batch"]
        return answer

    async def poll(self) -> "Deferred[JsonObject]":
        """A long poll that waits already."""
        log = self.server.core.log
        before = len(log.waiters.of_users([self.user_id]))
        answer = Deferred.fromCoroutine(self.sync(wait_ms=30_000))
        while not answer.called and len(log.waiters.of_users([self.user_id])) <= before:
            await _turn()
        return answer

    async def lists(self) -> tuple[list[str], list[str]]:
        """Who is `changed` and who `left` in the next answer."""
        found = (await self.sync()).get("device_lists", {})
        return found.get("changed", []), found.get("left", [])

    async def messages(self) -> list[Any]:
        """The contents of the messages to the device in the next answer."""
        return [event["content"] for event in (await self.sync()).get("to_device", {}).get("events", [])]

    async def do(self, method: str, path: str, body: Any = None) -> Any:
        return await self.server.ok(method, path, body, self.token)

    async def upload(self, **body: Any) -> None:
        await self.do("POST", "keys/upload", body)

    async def send(self, txn_id: str, messages: Any, kind: str = "m.test") -> None:
        await self.do("PUT", f"sendToDevice/{kind}/{txn_id}", {"messages": messages})


async def _turn() -> None:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    await turned


async def _client(server: TestServer, name: str, device_id: str, *, new: bool = True) -> Client:
    """A device of a user, whose keys are uploaded."""
    user_id = f"@{name}:hs.test"
    if new:
        token = await server.register(name, device_id=device_id)
    else:
        identifier = {"type": "m.id.user", "user": name}
        body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        token = (await server.ok("POST", "login", {**body, "device_id": device_id}))["access_token"]
    client = Client(server, user_id, Device.of(user_id, device_id), token)
    await client.upload(device_keys=client.device.keys)
    return client


async def _room(*members: Client) -> str:
    """The path of a room of all of them."""
    room: str = await members[0].server.room(members[0].token)
    for member in members[1:]:
        await member.do("POST", f"{room}/join", {})
    return room


async def _up_to_date(*clients: Client) -> None:
    for client in clients:
        await client.sync()


@pytest_twisted.async_yield_fixture
async def other_process(build_server: BuildServer, server: TestServer) -> AsyncIterator[TestServer]:
    """Another process of the same server, on the same bus."""
    yield await build_server(**OPEN, bus=server.bus)


@ensureDeferred
async def test_counts_stand_in_every_answer(server: TestServer) -> None:
    """Of a new device, of one that has keys, after a time-out; as of when the answer is written."""
    alice = await _client(server, "alice", "A")
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
async def test_counts_alone_wake_nobody_but_an_empty_store_does(server: TestServer) -> None:
    """A claim that leaves keys ends no poll; the last key and the first use of the fallback key do, once."""
    alice = await _client(server, "alice", "A")
    bob = await _client(server, "bob", "B")
    await alice.upload(
        one_time_keys=alice.device.one_time_keys("1", "2"), fallback_keys=alice.device.fallback_keys("F")
    )
    await _up_to_date(alice)
    waiting = await alice.poll()
    wanted = {"one_time_keys": {alice.user_id: {"A": "signed_curve25519"}}}
    await bob.do("POST", "keys/claim", wanted)
    for _ in range(20):
        await _turn()
    assert not waiting.called
    await bob.do("POST", "keys/claim", wanted)
    assert (await waiting)["device_one_time_keys_count"] == {"signed_curve25519": 0}
    waiting = await alice.poll()
    await bob.do("POST", "keys/claim", wanted)
    assert (await waiting)["device_unused_fallback_key_types"] == []
    waiting = await alice.poll()
    await bob.do("POST", "keys/claim", wanted)
    for _ in range(20):
        await _turn()
    assert not waiting.called
    server.clock.advance(30)
    await waiting


@ensureDeferred
async def test_messages_come_in_order_until_they_are_acknowledged(server: TestServer) -> None:
    """The same token gives the same messages; the next one deletes them; an old one brings none back."""
    alice = await _client(server, "alice", "A")
    bob = await _client(server, "bob", "B")
    await _up_to_date(alice)
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
    alice = await _client(server, "alice", "A")
    second = await _client(server, "alice", "A2", new=False)
    bob = await _client(server, "bob", "B")
    await _up_to_date(alice, second)
    await _up_to_date(alice, second)
    waiting, sleeping = await alice.poll(), await second.poll()
    await bob.send("1", {alice.user_id: {"A": {"for": "A"}}})
    assert [event["content"] for event in (await waiting)["to_device"]["events"]] == [{"for": "A"}]
    for _ in range(20):
        await _turn()
    assert not sleeping.called
    await bob.send("2", {alice.user_id: {"*": {"for": "all"}}})
    assert [event["content"] for event in (await sleeping)["to_device"]["events"]] == [{"for": "all"}]
    assert await alice.messages() == [{"for": "all"}]
    assert await second.messages() == []


@ensureDeferred
async def test_a_request_that_is_sent_again_sends_nothing(server: TestServer) -> None:
    """By device, type and transaction id; unknown devices, users and servers are no error."""
    alice = await _client(server, "alice", "A")
    bob = await _client(server, "bob", "B")
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
    alice = await _client(server, "alice", "A")
    bob = await _client(server, "bob", "B")
    await _up_to_date(alice)
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
    alice = await _client(server, "alice", "A")
    bob = await _client(server, "bob", "B")
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
async def test_every_change_of_keys_reaches_those_who_share_a_room(server: TestServer) -> None:
    """Oneself and room mates, not strangers; whatever the room, encrypted or not; each change is one row."""
    alice, bob, eve = [await _client(server, name, "D") for name in ("alice", "bob", "eve")]
    for _ in range(3):
        await _room(alice, bob)
    await _up_to_date(alice, bob, eve)
    identity = Identity.of(alice.user_id)
    second = await _client(server, "alice", "D2", new=False)

    async def rows() -> Any:
        sql = "SELECT count(*) FROM stream WHERE kind = 8"
        return await server.database.read(lambda txn: txn.value(sql))

    changes = [
        ("POST", "keys/device_signing/upload", identity.upload),
        (
            "POST",
            "keys/signatures/upload",
            {alice.user_id: {"D": identity.self_signing.sign(alice.device.keys)}},
        ),
        ("PUT", "devices/D2", {"display_name": "name"}),
    ]
    assert await alice.lists() == ([alice.user_id], [])
    assert await bob.lists() == ([alice.user_id], [])
    for method, path, body in changes:
        count = await rows()
        await alice.do(method, path, body)
        assert await rows() == count + 1
        assert await bob.lists() == ([alice.user_id], [])
        assert await alice.lists() == ([alice.user_id], [])
    await second.do("POST", "logout", {})
    assert await bob.lists() == ([alice.user_id], [])
    assert await eve.lists() == ([], [])


@ensureDeferred
async def test_a_change_of_keys_ends_the_polls_of_room_mates(
    server: TestServer, other_process: TestServer
) -> None:
    """In this process and in another one; a stranger's poll goes on."""
    alice, bob, eve = [await _client(server, name, "D") for name in ("alice", "bob", "eve")]
    far = await _client(other_process, "carol", "D")
    await _room(alice, bob, Client(server, far.user_id, far.device, far.token))
    await _up_to_date(alice, bob, eve, far)
    await _up_to_date(bob, eve, far)
    polls = [await client.poll() for client in (bob, far, eve)]
    await alice.do("POST", "keys/device_signing/upload", Identity.of(alice.user_id).upload)
    for poll in polls[:2]:
        assert (await poll)["device_lists"] == {"changed": [alice.user_id], "left": []}
    assert not polls[2].called
    server.clock.advance(30)
    await polls[2]


@ensureDeferred
async def test_only_the_signer_hears_of_a_signature_on_somebody_else(server: TestServer) -> None:
    """Their other devices ask again for the keys of whom they verified; nobody else does."""
    alice, bob = [await _client(server, name, "D") for name in ("alice", "bob")]
    mine, theirs = Identity.of(alice.user_id), Identity.of(bob.user_id)
    for client, identity in ((alice, mine), (bob, theirs)):
        await client.do("POST", "keys/device_signing/upload", identity.upload)
    await _room(alice, bob)
    await _up_to_date(alice, bob)
    waiting = await alice.poll()
    signed = mine.user_signing.sign(theirs.key("master"))
    body = {bob.user_id: {theirs.master.public_key: signed}}
    assert await alice.do("POST", "keys/signatures/upload", body) == {"failures": {}}
    assert (await waiting)["device_lists"]["changed"] == [bob.user_id]
    assert await bob.lists() == ([], [])


@ensureDeferred
async def test_who_comes_and_goes_is_listed_for_both(server: TestServer) -> None:
    """The first common room makes `changed`, the end of the last one `left`; `/keys/changes` agrees."""
    alice, bob = [await _client(server, name, "D") for name in ("alice", "bob")]
    first = await _room(alice)
    await _up_to_date(alice, bob)
    start = alice.since

    async def seen() -> list[tuple[list[str], list[str]]]:
        return [await alice.lists(), await bob.lists()]

    new, gone, nothing = ([bob.user_id], []), ([], [bob.user_id]), ([], [])
    await bob.do("POST", f"{first}/join", {})
    assert await seen() == [new, ([alice.user_id], [])]
    second = await _room(alice, bob)
    assert await seen() == [nothing, nothing]
    await bob.do("POST", f"{first}/leave", {})
    assert await seen() == [nothing, nothing]
    await alice.do("POST", f"{second}/leave", {})
    assert await seen() == [gone, ([], [alice.user_id])]
    await alice.do("POST", f"{second}/join", {})
    assert await seen() == [new, ([alice.user_id], [])]
    await bob.do("POST", f"{second}/leave", {})
    assert await seen() == [gone, ([], [alice.user_id])]
    path = f"keys/changes?from={start}&to={alice.since}"
    assert await alice.do("GET", path) == {"changed": [], "left": []}
    await bob.do("POST", f"{first}/join", {})
    await alice.sync()
    path = f"keys/changes?from={start}&to={alice.since}"
    assert await alice.do("GET", path) == {"changed": [bob.user_id], "left": []}


@ensureDeferred
async def test_comings_and_goings_are_told_from_memory(server: TestServer) -> None:
    """A poll that waits hears of the first and of the last common room; a change of profile is neither."""
    alice, bob = [await _client(server, name, "D") for name in ("alice", "bob")]
    room = await _room(alice)
    await _up_to_date(alice, bob)
    await _up_to_date(alice)
    waiting = await alice.poll()
    await bob.do("POST", f"{room}/join", {})
    assert (await waiting)["device_lists"] == {"changed": [bob.user_id], "left": []}
    waiting = await alice.poll()
    await bob.do("PUT", f"profile/{bob.user_id}/displayname", {"displayname": "Bob"})
    assert "device_lists" not in await waiting
    waiting = await alice.poll()
    await bob.do("POST", f"{room}/leave", {})
    assert (await waiting)["device_lists"] == {"changed": [], "left": [bob.user_id]}


@ensureDeferred
async def test_a_change_during_a_common_absence_is_not_missed(server: TestServer) -> None:
    """Leave, change keys, come back between two syncs: the keys are asked for again."""
    alice, bob = [await _client(server, name, "D") for name in ("alice", "bob")]
    room = await _room(alice, bob)
    await _up_to_date(alice, bob)
    await bob.do("POST", f"{room}/leave", {})
    await bob.do("POST", "keys/device_signing/upload", Identity.of(bob.user_id).upload)
    await bob.do("POST", f"{room}/join", {})
    assert await alice.lists() == ([bob.user_id], [])
    assert await server.refusal("GET", "keys/changes?from=s1", token=alice.token) == (400, "M_MISSING_PARAM")
    assert await server.refusal("GET", "keys/changes?from=x&to=s1", token=alice.token) == (
        400,
        "M_INVALID_PARAM",
    )


@ensureDeferred
async def test_a_token_without_a_device_has_no_keys(server: TestServer) -> None:
    """An administrator who acts as a user gets no messages and no counts, and uploads no keys."""
    alice = await _client(server, "alice", "A")
    session = await server.core.accounts.access_tokens.open_without_device(alice.user_id, None)
    answer = await server.ok("GET", "sync", token=session.token)
    assert not {*SECTIONS, *COUNTS} & answer.keys()
    assert await server.refusal("POST", "keys/upload", {}, session.token) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_a_message_reaches_an_encrypting_client_from_memory(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll as Element's, with counts of keys: woken by a message, it asks the database nothing."""
    alice, bob = [await _client(server, name, "D") for name in ("alice", "bob")]
    room = await _room(alice, bob)
    state = {"lazy_load_members": True}
    wanted = {"room": {"timeline": {"limit": 20, "unread_thread_notifications": True}, "state": state}}
    bob.filter = f"&filter={quote(json.dumps(wanted))}"
    send = f"{room}/send/m.room.encrypted/"
    for number in range(2):
        await _up_to_date(bob)
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
    clients = [await _client(server, f"user{number}", "D") for number in range(12)]
    await _up_to_date(*clients)
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
