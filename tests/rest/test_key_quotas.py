"""How much a user can make the server keep, and have in memory, of keys and messages to devices."""

import orjson
import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers import device_keys, inboxes, key_backup, public_keys
from synapse_lite.handlers.inboxes import Inboxes
from synapse_lite.handlers.public_keys import UserKeys
from synapse_lite.http.large_answers import LargeAnswers
from synapse_lite.storage.to_device import Address
from tests.server import PASSWORD, TestServer
from tests.signing import Device, random_key

ALICE = "@alice:hs.test"
ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
TOO_LARGE = (413, "M_TOO_LARGE")


@ensureDeferred
async def test_keys_of_endless_algorithms(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each algorithm has its own 200 keys: so there are not many of them. What is refused leaves nothing behind."""
    monkeypatch.setattr(device_keys, "MAX_ALGORITHMS", 3)
    token = await server.register("alice", device_id="A")
    for first in (0, 2):
        keys = {f"algorithm{first + number}:key": random_key() for number in range(2)}
        if first == 0:
            await server.ok("POST", "keys/upload", {"one_time_keys": keys}, token)
        else:
            assert await server.refusal("POST", "keys/upload", {"one_time_keys": keys}, token) == TOO_LARGE
            assert await server.refusal("POST", "keys/upload", {"fallback_keys": keys}, token) == TOO_LARGE
    counts = (await server.ok("POST", "keys/upload", {}, token))["one_time_key_counts"]
    assert counts == {"algorithm0": 1, "algorithm1": 1, "signed_curve25519": 0}
    more = {"one_time_keys": {"algorithm0:more": random_key()}, "fallback_keys": {"last:key": random_key()}}
    await server.ok("POST", "keys/upload", more, token)


@ensureDeferred
async def test_large_keys_of_many_devices(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a user's keys gets all of them: they have a bound together. The same ones again are no more."""
    monkeypatch.setattr(device_keys, "MAX_DEVICE_KEYS_BYTES", 1000)
    tokens = {"A": await server.register("alice", device_id="A")}
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD, "device_id": "B"}
    tokens["B"] = (await server.ok("POST", "login", login))["access_token"]
    first, second = (Device.of(ALICE, name) for name in "AB")
    large = second.signer.sign({**second.keys, "more": "x" * 500, "signatures": {}})
    for _ in range(2):
        await server.ok("POST", "keys/upload", {"device_keys": first.keys}, tokens["A"])
    assert await server.refusal("POST", "keys/upload", {"device_keys": large}, tokens["B"]) == TOO_LARGE
    await server.ok("POST", "keys/upload", {"device_keys": second.keys}, tokens["B"])
    shown = await server.ok("POST", "keys/query", {"device_keys": {ALICE: []}}, tokens["A"])
    assert shown["device_keys"][ALICE].keys() == {"A", "B"}


@ensureDeferred
async def test_keys_of_many_users(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than fit into one answer are refused, whether memory has them or not; a large answer waits for its turn."""
    users, gate = [f"@{name}:hs.test" for name in ("alice", "bob", "carol")], []
    for user_id in users:
        token = await server.register(user_id[1:].split(":")[0], device_id="A")
        await server.ok("POST", "keys/upload", {"device_keys": Device.of(user_id, "A").keys}, token)

    async def acquire(_: LargeAnswers, who: str) -> None:
        gate.append(who)

    monkeypatch.setattr(LargeAnswers, "acquire", acquire)
    monkeypatch.setattr(LargeAnswers, "release", lambda *_: None)
    monkeypatch.setattr(public_keys, "EACH_BYTES", 0)
    size = len(orjson.dumps(Device.of(users[0], "A").keys))
    monkeypatch.setattr(public_keys, "MAX_ANSWER_BYTES", 3 * size - 20)
    monkeypatch.setattr(public_keys, "LARGE_BYTES", 2 * size - 10)
    for _ in range(2):
        every = {"device_keys": {user_id: [] for user_id in users}}
        assert await server.refusal("POST", "keys/query", every, token) == TOO_LARGE
        assert gate == []
        for user_id in users:
            await server.ok("POST", "keys/query", {"device_keys": {user_id: []}}, token)
    assert gate == []
    some = {"device_keys": {user_id: [] for user_id in users[1:]}}
    assert len((await server.ok("POST", "keys/query", some, token))["device_keys"]) == 2
    assert gate == [users[2]]


@ensureDeferred
async def test_full_inboxes_do_not_fill_the_memory(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those in memory have a bound in bytes: one has up to a mebibyte."""
    monkeypatch.setattr(inboxes, "REMEMBERED_BYTES", 10_000)
    read = Inboxes(server.database)
    token = await server.register("alice", device_id="A")
    address = Address(ALICE, "A")
    for size, is_kept in ((100, True), (20_000, False)):
        body = {"messages": {ALICE: {"A": {"text": "x" * size}}}}
        await server.ok("PUT", f"sendToDevice/m.test/{size}", body, token)
        read.forget(address)
        await read.prepare(address)
        assert (read.of(address) is not None) == is_kept


@ensureDeferred
async def test_endless_versions_of_a_backup(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused until one is deleted, of which nothing stays but the highest number."""
    monkeypatch.setattr(key_backup, "MAX_VERSIONS", 2)
    token = await server.register("alice")
    path, body = "room_keys/version", {"algorithm": ALGORITHM, "auth_data": {}}
    versions = [(await server.ok("POST", path, body, token))["version"] for _ in range(2)]
    assert await server.refusal("POST", path, body, token) == TOO_LARGE
    for number in range(3, 6):
        assert (await server.ok("GET", f"{path}/{versions[0]}", token=token))["version"] == "1"
        await server.ok("DELETE", f"{path}/{versions.pop()}", token=token)
        versions.append((await server.ok("POST", path, body, token))["version"])
        assert versions == ["1", str(number)]
    stored = await server.database.read(lambda txn: txn.rows("SELECT version FROM key_backups ORDER BY 1"))
    assert stored == [(1,), (5,)]


def test_keys_in_memory_are_measured_in_bytes() -> None:
    keys = UserKeys(b"x" * 1000, {"master": "x" * 1000}, None, {"A": "x" * 1000})
    assert 3000 < keys.bytes_in_memory < 5000
