"""Keys of other servers' users, for clients of this one."""

from typing import Any, cast

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.peers import PeerError
from synapse_lite.handlers import public_keys, remote_keys
from synapse_lite.handlers.device_keys import DeviceKeys
from synapse_lite.handlers.public_keys import PublicKeys
from synapse_lite.handlers.remote_keys import RemoteKeys, RemoteUser
from synapse_lite.storage.stream import read_position
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import remote_room, send
from tests.server import TestServer
from tests.signing import Device, Identity

QUERY = "/_matrix/federation/v1/user/keys/query"
CLAIM = "/_matrix/federation/v1/user/keys/claim"


class Keys:
    """A scripted server with a user, carol; `asked` are the requests."""

    def __init__(self, other: Scripted) -> None:
        self.user = f"@carol:{other.name}"
        self.device = Device.of(self.user, "PHONE")
        self.identity = Identity.of(self.user)
        self.asked: list[JsonObject] = []
        other.scripts[QUERY] = self.query
        other.scripts[CLAIM] = self.claim

    def query(self, _method: str, _target: str, body: JsonObject | None) -> JsonObject:
        assert body is not None
        self.asked.append(body["device_keys"])
        return {
            "device_keys": {
                self.user: {"PHONE": self.device.keys, "FORGED": self.device.keys, "BROKEN": 7},
                "@alice:hs.test": {"A": Device.of("@alice:hs.test", "A").keys},
            },
            "master_keys": {self.user: self.identity.key("master")},
            "self_signing_keys": {self.user: {"user_id": "@somebody:else"}},
        }

    def claim(self, _method: str, _target: str, body: JsonObject | None) -> JsonObject:
        assert body is not None
        self.asked.append(body["one_time_keys"])
        keys = self.device.one_time_keys("one")
        return {"one_time_keys": {self.user: {"PHONE": keys, "UNASKED": keys}, "@alice:hs.test": {"A": keys}}}


async def query(server: TestServer, token: str, *user_ids: str, **more: Any) -> Any:
    wanted = {"device_keys": {user_id: [] for user_id in user_ids}, **more}
    return await server.ok("POST", "keys/query", wanted, token)


@ensureDeferred
async def test_keys_of_those_in_shared_rooms_are_remembered(server: TestServer, other: Scripted) -> None:
    """Until their server says that they changed; what is not theirs is left out."""
    keys = Keys(other)
    _, token = await remote_room(server, other)
    for _ in range(2):
        answer = await query(server, token, keys.user)
        assert answer["device_keys"] == {keys.user: {"PHONE": keys.device.keys}}
        assert answer["master_keys"] == {keys.user: keys.identity.key("master")}
        assert (answer["self_signing_keys"], answer["failures"]) == ({}, {})
    assert keys.asked == [{keys.user: []}]
    changed = {
        "edu_type": "m.device_list_update",
        "content": {"user_id": keys.user, "device_id": "X", "stream_id": 1},
    }
    await send(server, other, edus=[changed])
    await query(server, token, keys.user)
    await send(server, other, edus=[{"edu_type": "m.signing_key_update", "content": {"user_id": keys.user}}])
    await query(server, token, keys.user)
    assert len(keys.asked) == 3


@ensureDeferred
async def test_floods_of_device_lists_of_strangers(server: TestServer, other: Scripted) -> None:
    """What is said of the devices of users with whom nobody here shares a room leaves no trace."""
    await remote_room(server, other)
    before = await server.database.read(read_position)
    for kind in ("m.device_list_update", "m.signing_key_update"):
        for number in range(20):
            content = {"user_id": f"@flood{number}:{other.name}", "device_id": "X", "stream_id": number}
            await send(server, other, edus=[{"edu_type": kind, "content": content}])
    assert await server.database.read(read_position) == before


@ensureDeferred
async def test_changes_of_keys_on_behalf_of_another_servers_users(
    server: TestServer, other: Scripted
) -> None:
    """A server speaks for its own users only: nothing is forgotten, and nobody is told of a change."""
    await remote_room(server, other)
    before = await server.database.read(read_position)
    for kind in ("m.device_list_update", "m.signing_key_update"):
        for user_id in ("@alice:hs.test", "@x:third.test"):
            content = {"user_id": user_id, "device_id": "X", "stream_id": 1}
            await send(server, other, edus=[{"edu_type": kind, "content": content}])
    assert await server.database.read(read_position) == before


@ensureDeferred
async def test_keys_of_strangers_are_not_remembered(server: TestServer, other: Scripted) -> None:
    """Nobody would tell when they change."""
    keys = Keys(other)
    token = await server.user("alice")
    for _ in range(2):
        assert (await query(server, token, keys.user))["device_keys"][keys.user]
    assert len(keys.asked) == 2


@ensureDeferred
async def test_keys_are_forgotten_when_the_room_ends(server: TestServer, other: Scripted) -> None:
    """When the other leaves, and when the last of ours does."""
    keys = Keys(other)
    room, token = await remote_room(server, other)
    await query(server, token, keys.user)
    leave = await room.build("m.room.member", {"membership": "leave"}, room.user)
    await send(server, other, leave.pdu)
    await room.look()
    await room.join()
    await query(server, token, keys.user)
    assert len(keys.asked) == 2
    await server.ok("POST", f"rooms/{room.room_id}/leave", {}, token)
    await query(server, token, keys.user)
    assert len(keys.asked) == 3


@ensureDeferred
async def test_a_change_while_the_server_is_asked(server: TestServer, other: Scripted) -> None:
    """The answer may be from before the change: it is given, and not remembered."""
    keys = Keys(other)
    room, token = await remote_room(server, other)
    answering: Deferred[None] = Deferred()
    asked: Deferred[None] = Deferred()

    async def slowly(method: str, target: str, body: JsonObject | None) -> JsonObject:
        answer = keys.query(method, target, body)
        if not asked.called:
            asked.callback(None)
            await answering
        return answer

    other.scripts[QUERY] = slowly
    first = Deferred.fromCoroutine(query(server, token, keys.user))
    await asked
    await send(server, other, edus=[{"edu_type": "m.device_list_update", "content": {"user_id": room.user}}])
    answering.callback(None)
    assert (await first)["device_keys"][keys.user]
    await query(server, token, keys.user)
    await query(server, token, keys.user)
    assert len(keys.asked) == 2


@ensureDeferred
@pytest.mark.parametrize(
    ("answer", "fails"), [({}, True), ({"device_keys": []}, True), ({"device_keys": {}}, False)]
)
async def test_servers_that_answer_something_else(
    server: TestServer, other: Scripted, answer: JsonObject, fails: bool
) -> None:
    """It is not remembered: somebody without any devices would be encrypted for by nobody, until a change of theirs."""
    keys = Keys(other)
    _, token = await remote_room(server, other)
    other.scripts[QUERY] = lambda *_question: answer
    told = await query(server, token, keys.user)
    assert (keys.user not in told["device_keys"], other.name in told["failures"]) == (fails, fails)
    other.scripts[QUERY] = keys.query
    assert "PHONE" in (await query(server, token, keys.user))["device_keys"][keys.user]


@ensureDeferred
async def test_servers_that_do_not_answer(server: TestServer, other: Scripted, network: Network) -> None:
    """They are named as failures; the others' keys are there. One that is left alone for now is not asked."""
    keys = Keys(other)
    _, token = await remote_room(server, other)
    dead = network.scripted("dead.test")

    def die(*_: Any) -> JsonObject:
        raise PeerError("nobody is there")

    dead.scripts[QUERY] = die
    dead.scripts[CLAIM] = die
    answer = await query(server, token, keys.user, "@x:dead.test", "@alice:hs.test")
    assert set(answer["device_keys"]) == {keys.user, "@alice:hs.test"}
    assert answer["failures"] == {"dead.test": {"status": 503, "message": "nobody is there"}}
    body = {"one_time_keys": {"@x:dead.test": {"A": "signed_curve25519"}}}
    assert set((await server.ok("POST", "keys/claim", body, token))["failures"]) == {"dead.test"}
    until = server.clock.now_ms() + 60_000
    await server.database.transact(
        lambda txn: txn.execute(
            "INSERT INTO destinations (server_name, failing_since, retry_at) VALUES ('dead.test', 1, %s)",
            (until,),
        )
    )
    before = len(network.asked)
    assert set((await query(server, token, "@x:dead.test"))["failures"]) == {"dead.test"}
    assert len(network.asked) == before


@ensureDeferred
async def test_who_verifies_somebody_of_another_server(server: TestServer, other: Scripted) -> None:
    """Their signature of the other's master key is taken, and shown to them alone."""
    keys, alice = Keys(other), Identity.of("@alice:hs.test")
    _, token = await remote_room(server, other)
    bob = await server.user("bob")
    await server.ok("POST", "keys/device_signing/upload", alice.upload, token)
    master = (await query(server, token, keys.user))["master_keys"][keys.user]
    signed = alice.user_signing.sign(master)
    public = keys.identity.master.public_key
    answer = await server.ok("POST", "keys/signatures/upload", {keys.user: {public: signed}}, token)
    assert answer["failures"] == {}
    assert (await query(server, token, keys.user))["master_keys"] == {keys.user: signed}
    assert (await query(server, bob, keys.user))["master_keys"] == {keys.user: master}


@ensureDeferred
async def test_who_verifies_somebody_whose_keys_are_not_known(server: TestServer, other: Scripted) -> None:
    """Their server is asked: no room is shared, or it has told of a change since the client asked."""
    keys, alice = Keys(other), Identity.of("@alice:hs.test")
    token = await server.user("alice")
    await server.ok("POST", "keys/device_signing/upload", alice.upload, token)
    public = keys.identity.master.public_key
    signed = {keys.user: {public: alice.user_signing.sign(keys.identity.key("master"))}}
    assert (await server.ok("POST", "keys/signatures/upload", signed, token))["failures"] == {}
    shown = (await query(server, token, keys.user))["master_keys"][keys.user]["signatures"]
    assert shown.keys() == {"@alice:hs.test"}
    other.scripts.pop(QUERY)
    failures = (await server.ok("POST", "keys/signatures/upload", signed, token))["failures"]
    assert failures[keys.user][public]["errcode"] == "M_NOT_FOUND"


class _Wanted(list[str]):
    """Of which there may be hundreds of thousands, in the request of a stranger."""

    def __contains__(self, _: object) -> bool:
        raise AssertionError("all of them are looked at for each device")


@ensureDeferred
async def test_devices_that_are_named(server: TestServer) -> None:
    """They are gone through once, however many devices there are."""
    user = "@carol:other.test"

    class Remote:
        async def query(self, *_: Any) -> Any:
            return {user: RemoteUser({name: {"device_id": name} for name in "ABC"})}, {}

    public = PublicKeys(server.database, server.core.log)
    handler = DeviceKeys(server.database, public, cast(RemoteKeys, Remote()), "hs.test")
    answer = await handler.query("@alice:hs.test", {user: _Wanted(["C", "X", "A"])}, cast(Any, None))
    assert answer["device_keys"][user].keys() == {"A", "C"}


@ensureDeferred
async def test_nobody_is_asked_about_who_is_only_named(server: TestServer, other: Scripted) -> None:
    """A request may sign a thousand keys, and name far more users of as many servers."""
    named = {f"@user:{number}.test": {} for number in range(1500)}
    token = await server.user("alice")
    assert await server.ok("POST", "keys/signatures/upload", named, token) == {"failures": {}}
    assert other.network.asked == []


@ensureDeferred
async def test_signatures_of_another_form(server: TestServer, other: Scripted) -> None:
    """A master key whose server changes its signatures breaks nobody's answer: who has signed it sees their own."""
    keys, alice = Keys(other), Identity.of("@alice:hs.test")
    _, token = await remote_room(server, other)
    await server.ok("POST", "keys/device_signing/upload", alice.upload, token)
    master = (await query(server, token, keys.user))["master_keys"][keys.user]
    public = keys.identity.master.public_key
    body = {keys.user: {public: alice.user_signing.sign(master)}}
    await server.ok("POST", "keys/signatures/upload", body, token)
    strange = {**master, "signatures": {keys.user: 7}}
    other.scripts[QUERY] = lambda *_: {"device_keys": {}, "master_keys": {keys.user: strange}}
    await send(server, other, edus=[{"edu_type": "m.signing_key_update", "content": {"user_id": keys.user}}])
    shown = (await query(server, token, keys.user))["master_keys"][keys.user]
    assert shown["signatures"].keys() == {"@alice:hs.test"}


@ensureDeferred
async def test_numbers_that_cannot_be_shown(server: TestServer, other: Scripted) -> None:
    """A one-time key with one is a failure of its server."""
    keys = Keys(other)
    key = {"signed_curve25519:one": {"key": 2**70}}
    other.scripts[CLAIM] = lambda *_: {"one_time_keys": {keys.user: {"PHONE": key}}}
    body = {"one_time_keys": {keys.user: {"PHONE": "signed_curve25519"}}}
    answer = await server.ok("POST", "keys/claim", body, await server.user("alice"))
    assert (answer["one_time_keys"], answer["failures"].keys()) == ({}, {other.name})


@ensureDeferred
async def test_a_slow_server_is_waited_for_once(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many requests its users take."""
    monkeypatch.setattr(remote_keys, "MAX_USERS", 1)
    keys = Keys(other)

    def slow(method: str, target: str, body: JsonObject | None) -> JsonObject:
        server.clock.advance(6)
        return keys.query(method, target, body)

    other.scripts[QUERY] = slow
    users = [f"@user{number}:{other.name}" for number in range(10)]
    answer = await query(server, await server.user("alice"), *users, timeout=10_000)
    assert (len(keys.asked), answer["failures"].keys()) == (2, {other.name})


@ensureDeferred
async def test_one_time_keys(server: TestServer, other: Scripted) -> None:
    """They come from the device's server; what was not asked for is left out."""
    keys = Keys(other)
    token = await server.user("alice")
    body = {"one_time_keys": {keys.user: {"PHONE": "signed_curve25519"}}}
    answer = await server.ok("POST", "keys/claim", body, token)
    assert keys.asked == [body["one_time_keys"]]
    (one,) = answer["one_time_keys"][keys.user]["PHONE"].values()
    assert set(answer["one_time_keys"][keys.user]) == {"PHONE"}
    assert one["signatures"]
    assert set(answer["one_time_keys"]) == {keys.user}


@ensureDeferred
async def test_an_update_of_devices_asks_nobody(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """However long their server takes to tell keys: what it sends is taken, and only who wants the keys waits."""
    _, token = await remote_room(server, other)
    user = f"@carol:{other.name}"
    silent: Deferred[JsonObject] = Deferred()

    async def never(*_: Any) -> JsonObject:
        return await silent

    other.scripts[QUERY] = never
    other.scripts["/_matrix/federation/v1/user/devices/"] = never
    network.asked.clear()
    updates = [
        {
            "edu_type": "m.device_list_update",
            "content": {"user_id": user, "device_id": "X", "stream_id": number},
        }
        for number in (1, 7)
    ]
    await send(server, other, edus=updates)
    assert [target for _, _, target in network.asked if "/user/" in target] == []
    asked = Deferred.fromCoroutine(query(server, token, user))
    await send(server, other, edus=updates)
    silent.callback({"device_keys": {user: {}}})
    assert (await asked)["device_keys"] == {user: {}}


@ensureDeferred
async def test_keys_that_do_not_fit_into_one_answer(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a server that does not fit are its failure; what is known already is asked for in parts."""
    keys = Keys(other)
    _, token = await remote_room(server, other)
    size = len(RemoteUser({"PHONE": keys.device.keys}, keys.identity.key("master")).text)
    monkeypatch.setattr(public_keys, "MAX_ANSWER_BYTES", size - 1)
    answer = await query(server, token, keys.user)
    assert (answer["device_keys"], answer["failures"].keys()) == ({}, {other.name})
    monkeypatch.setattr(public_keys, "MAX_ANSWER_BYTES", size)
    assert (await query(server, token, keys.user))["device_keys"][keys.user].keys() == {"PHONE"}
    monkeypatch.setattr(public_keys, "MAX_ANSWER_BYTES", size - 1)
    body = {"device_keys": {keys.user: []}}
    assert await server.refusal("POST", "keys/query", body, token) == (413, "M_TOO_LARGE")
