"""Uploading, asking for and claiming keys of devices."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.matrix.signing import encode_base64
from synapse_lite.storage import one_time_keys
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer
from tests.signing import Device, Identity, Signer, random_key

ALICE, BOB = "@alice:hs.test", "@bob:hs.test"


async def _device(server: TestServer, name: str, device_id: str) -> tuple[Device, str]:
    """A new user's device whose keys are uploaded, and its token."""
    token = await server.register(name, device_id=device_id, initial_device_display_name=f"{name}'s phone")
    device = Device.of(f"@{name}:hs.test", device_id)
    await server.ok("POST", "keys/upload", {"device_keys": device.keys}, token)
    return device, token


async def _upload(server: TestServer, token: str, **body: Any) -> dict[str, int]:
    counts: dict[str, int] = (await server.ok("POST", "keys/upload", body, token))["one_time_key_counts"]
    return counts


async def _claim(server: TestServer, token: str, user_id: str = ALICE, device_id: str = "A") -> Any:
    """Id and value of the key, None when there is none."""
    wanted = {user_id: {device_id: "signed_curve25519"}}
    answer = await server.ok("POST", "keys/claim", {"one_time_keys": wanted}, token)
    assert answer["failures"] == {}
    found = answer["one_time_keys"].get(user_id, {}).get(device_id, {})
    return next(iter(found.items()), None)


async def _query(server: TestServer, token: str, **users: list[str]) -> Any:
    wanted = {f"@{name}:hs.test": devices for name, devices in users.items()}
    return await server.ok("POST", "keys/query", {"device_keys": wanted}, token)


@ensureDeferred
async def test_keys_are_found_by_others(server: TestServer) -> None:
    """All devices of a user, or those that are named; users without keys have none, strangers are no error."""
    alice, token = await _device(server, "alice", "A")
    _, other = await _device(server, "bob", "B")
    assert (await _query(server, other, alice=[]))["device_keys"] == {ALICE: {"A": alice.keys}}
    answer = await _query(server, other, alice=["A", "unknown"], bob=["nothing"], nobody=[])
    assert answer["device_keys"] == {ALICE: {"A": alice.keys}, BOB: {}, "@nobody:hs.test": {}}
    assert answer["failures"] == {}
    wanted = {"device_keys": {"@far:elsewhere.test": []}, "timeout": 10}
    assert list((await server.ok("POST", "keys/query", wanted, token))["failures"]) == ["elsewhere.test"]


@ensureDeferred
async def test_the_name_of_a_device_is_for_its_owner(server: TestServer) -> None:
    """Nobody else is told it."""
    alice, token = await _device(server, "alice", "A")
    _, other = await _device(server, "bob", "B")
    own = (await _query(server, token, alice=[]))["device_keys"][ALICE]["A"]
    assert own == {**alice.keys, "unsigned": {"device_display_name": "alice's phone"}}
    assert "phone" not in str((await _query(server, other, alice=[]))["device_keys"])


@ensureDeferred
async def test_the_identity_of_a_device_cannot_be_replaced(server: TestServer) -> None:
    """Another key of the device, another device, another user: refused. The same keys again are accepted, signed anew too."""
    alice, token = await _device(server, "alice", "A")
    assert await _upload(server, token, device_keys=alice.keys) == {"signed_curve25519": 0}
    same_ed25519 = Device(alice.signer)
    for wrong in (
        Device.of(ALICE, "A"),
        same_ed25519,
        Device.of(ALICE, "B"),
        Device.of(BOB, "A"),
    ):
        refusal = await server.refusal("POST", "keys/upload", {"device_keys": wrong.keys}, token)
        assert refusal == (400, "M_INVALID_PARAM")
    assert (await _query(server, token, alice=[]))["device_keys"][ALICE]["A"]["keys"] == alice.keys["keys"]
    unsigned = {name: value for name, value in alice.keys.items() if name != "signatures"}
    again = alice.signer.sign({**unsigned, "algorithms": ["m.megolm.v1.aes-sha2"]})
    assert await _upload(server, token, device_keys=again) == {"signed_curve25519": 0}
    shown = (await _query(server, token, alice=[]))["device_keys"][ALICE]["A"]
    assert {**again, "unsigned": shown["unsigned"]} == shown


@ensureDeferred
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"signatures": {}}, "M_INVALID_SIGNATURE"),
        ({"signatures": {ALICE: {"ed25519:A": encode_base64(bytes(64))}}}, "M_INVALID_SIGNATURE"),
        ({"signatures": {ALICE: {"ed25519:A": "no base64"}}}, "M_INVALID_SIGNATURE"),
        ({"signatures": {ALICE: "none"}}, "M_BAD_JSON"),
        ({"signatures": []}, "M_BAD_JSON"),
        ({"more": "signed by nobody"}, "M_INVALID_SIGNATURE"),
        ({"algorithms": "all"}, "M_BAD_JSON"),
        ({"algorithms": [1]}, "M_BAD_JSON"),
        ({"keys": []}, "M_BAD_JSON"),
        ({"keys": {"ed25519:A": random_key()}}, "M_BAD_JSON"),
        ({"keys": {"ed25519:A": "short", "curve25519:A": "short"}}, "M_BAD_JSON"),
        ({"keys": {"ed25519:A": None, "curve25519:A": None}}, "M_BAD_JSON"),
        ({"number": 1.5}, "M_BAD_JSON"),
        ({"text": "x" * 70_000}, "M_TOO_LARGE"),
    ],
)
async def test_hostile_device_keys_are_refused(server: TestServer, change: Any, code: str) -> None:
    """Unsigned, unreadable, oversized: nothing of it is stored (CVE-2025-61672)."""
    token = await server.register("alice", device_id="A")
    keys = {**Device.of(ALICE, "A").keys, **change}
    answer = await server.call("POST", "keys/upload", {"device_keys": keys}, token)
    assert answer.status in (400, 413)
    assert answer.json()["errcode"] == code
    assert (await _query(server, token, alice=[]))["device_keys"] == {ALICE: {}}


@ensureDeferred
async def test_only_own_signatures_are_kept(server: TestServer) -> None:
    """What a device says that others have signed, or adds unsigned, is not shown to anybody."""
    token = await server.register("alice", device_id="A")
    alice = Device.of(ALICE, "A")
    stuffed = Signer(BOB, "B").sign({**alice.keys, "unsigned": {"device_display_name": "joke"}})
    await _upload(server, token, device_keys=stuffed)
    _, other = await _device(server, "bob", "B")
    assert (await _query(server, other, alice=[]))["device_keys"][ALICE]["A"] == alice.keys


@ensureDeferred
async def test_one_time_keys_go_out_once_and_in_order(server: TestServer) -> None:
    """The oldest first; then the fallback key, again and again; without one nothing."""
    alice, token = await _device(server, "alice", "A")
    keys = {**alice.one_time_keys("Z"), **alice.one_time_keys("A")}
    assert await _upload(server, token, one_time_keys=keys) == {"signed_curve25519": 2}
    assert [await _claim(server, token) for _ in range(3)] == [*keys.items(), None]
    fallback = alice.fallback_keys("F")
    assert await _upload(server, token, fallback_keys=fallback) == {"signed_curve25519": 0}
    assert [await _claim(server, token) for _ in range(2)] == [*fallback.items()] * 2
    assert await _claim(server, token, device_id="unknown") is None


@ensureDeferred
async def test_claims_at_once_never_get_the_same_key(server: TestServer) -> None:
    """200 claims of 150 keys from two pools of connections: distinct, none left, the others get the fallback."""
    alice, token = await _device(server, "alice", "A")
    keys = alice.one_time_keys(*(f"{number:03}" for number in range(150)))
    fallback = alice.fallback_keys("F")
    await _upload(server, token, one_time_keys=keys, fallback_keys=fallback)
    claims = await gatherResults([Deferred.fromCoroutine(_claim(server, token)) for _ in range(200)])
    names = [name for name, _ in claims]
    assert sorted(name for name in names if name in keys) == sorted(keys)
    assert names.count(*fallback) == 50


@ensureDeferred
async def test_a_key_that_was_given_out_is_not_stored_again(server: TestServer) -> None:
    """A client that repeats an upload, because it did not hear the answer, gives nobody the same key twice."""
    alice, token = await _device(server, "alice", "A")
    keys = alice.one_time_keys("1", "2")
    await _upload(server, token, one_time_keys=keys)
    first, _ = await _claim(server, token)
    assert await _upload(server, token, one_time_keys=keys) == {"signed_curve25519": 1}
    second, _ = await _claim(server, token)
    assert {first, second} == set(keys)
    assert await _claim(server, token) is None
    new = alice.one_time_keys("1")
    assert await _upload(server, token, one_time_keys=new) == {"signed_curve25519": 1}


@ensureDeferred
async def test_what_was_uploaded_is_remembered_for_a_while(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest uploads, however many keys of them are left: whoever repeats one of them stores nothing."""
    monkeypatch.setattr(one_time_keys, "REMEMBERED_KEYS", 4)
    alice, token = await _device(server, "alice", "A")
    uploads = [alice.one_time_keys(f"{number}a", f"{number}b") for number in range(4)]
    for keys in uploads:
        await _upload(server, token, one_time_keys=keys)
    for _ in range(8):
        await _claim(server, token)
    for keys in uploads[2:]:
        assert await _upload(server, token, one_time_keys=keys) == {"signed_curve25519": 0}
    remembered = await server.database.read(lambda txn: txn.value("SELECT count(*) FROM key_uploads"))
    assert remembered == 2


@ensureDeferred
async def test_a_known_id_takes_no_other_key(server: TestServer) -> None:
    """The same key with another signature is the same; another one is refused by name, and nothing is stored."""
    alice, token = await _device(server, "alice", "A")
    keys = alice.one_time_keys("1")
    await _upload(server, token, one_time_keys=keys)
    again = {name: alice.signer.sign({**value, "more": 1}) for name, value in keys.items()}
    assert await _upload(server, token, one_time_keys=again) == {"signed_curve25519": 1}
    conflict = {**alice.one_time_keys("2"), **alice.one_time_keys("1")}
    answer = await server.call("POST", "keys/upload", {"one_time_keys": conflict}, token)
    assert answer.status == 400
    assert "signed_curve25519:1 already exists" in answer.json()["error"]
    assert await _claim(server, token) == next(iter(keys.items()))
    assert await _claim(server, token) is None


@ensureDeferred
async def test_a_hoard_of_keys_is_bounded(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest go: their client has forgotten them first."""
    monkeypatch.setattr(one_time_keys, "KEPT_KEYS", 5)
    alice, token = await _device(server, "alice", "A")
    for batch in range(3):
        names = [f"{batch}{number}" for number in range(3)]
        counts = await _upload(server, token, one_time_keys=alice.one_time_keys(*names))
    assert counts == {"signed_curve25519": 5}
    assert (await _claim(server, token))[0] == "signed_curve25519:11"


@ensureDeferred
@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("signed_curve25519:1", {"key": random_key(), "signatures": {}}, "M_INVALID_SIGNATURE"),
        ("signed_curve25519:1", {"key": "short"}, "M_BAD_JSON"),
        ("signed_curve25519:1", {}, "M_BAD_JSON"),
        ("signed_curve25519:1", 5, "M_BAD_JSON"),
        ("signed_curve25519:1", {"key": random_key(), "more": "x" * 5000}, "M_TOO_LARGE"),
        ("signed_curve25519", random_key(), "M_BAD_JSON"),
        (":", random_key(), "M_BAD_JSON"),
        ("curve25519:a\0b", random_key(), "M_BAD_JSON"),
    ],
    ids=["unsigned", "short", "empty", "number", "large", "no id", "no algorithm", "NUL"],
)
async def test_hostile_one_time_keys_are_refused(
    server: TestServer, name: str, value: Any, code: str
) -> None:
    """Not signed by the device, of another shape, too large: no key of the upload is stored."""
    alice, token = await _device(server, "alice", "A")
    for field in ("one_time_keys", "fallback_keys"):
        body = {field: {**alice.one_time_keys("0"), name: value}}
        answer = await server.call("POST", "keys/upload", body, token)
        assert answer.status in (400, 413)
        assert answer.json()["errcode"] == code
    assert await _upload(server, token) == {"signed_curve25519": 0}


@ensureDeferred
async def test_a_used_fallback_key_stays_used(server: TestServer) -> None:
    """The same key again is as used as before; another one is unused."""
    alice, token = await _device(server, "alice", "A")
    fallback = alice.fallback_keys("F")

    async def unused() -> list[str]:
        counts = await server.database.read(one_time_keys.read_counts, ALICE, "A")
        return list(counts.unused_fallback)

    await _upload(server, token, fallback_keys=fallback)
    assert await unused() == ["signed_curve25519"]
    await _claim(server, token)
    assert await unused() == []
    await _upload(server, token, **{"org.matrix.msc2732.fallback_keys": fallback})
    assert await unused() == []
    await _upload(server, token, fallback_keys=alice.fallback_keys("G"))
    assert await unused() == ["signed_curve25519"]


@ensureDeferred
async def test_keys_do_not_outlive_their_device(server: TestServer) -> None:
    """After a log-out and a log-in as the same device there is nothing to query or claim."""
    alice, token = await _device(server, "alice", "A")
    _, other = await _device(server, "bob", "B")
    await _upload(
        server, token, one_time_keys=alice.one_time_keys("1"), fallback_keys=alice.fallback_keys("F")
    )
    await server.ok("POST", "logout", {}, token)
    identifier = {"type": "m.id.user", "user": "alice"}
    login = {"type": "m.login.password", "identifier": identifier, "password": "secret", "device_id": "A"}
    await server.ok("POST", "login", login)
    assert (await _query(server, other, alice=[]))["device_keys"] == {ALICE: {}}
    assert await _claim(server, other) is None


@ensureDeferred
async def test_malformed_questions_are_refused(server: TestServer) -> None:
    """Each with its code, and no 500."""
    token = await server.register("alice", device_id="A")
    refusals = [
        ("keys/query", {}, "M_MISSING_PARAM"),
        ("keys/query", {"device_keys": []}, "M_BAD_JSON"),
        ("keys/query", {"device_keys": {"alice": []}}, "M_INVALID_PARAM"),
        ("keys/query", {"device_keys": {ALICE: {}}}, "M_BAD_JSON"),
        ("keys/query", {"device_keys": {ALICE: [1]}}, "M_BAD_JSON"),
        ("keys/query", {"device_keys": {ALICE: ["a\0"]}}, "M_BAD_JSON"),
        ("keys/claim", {}, "M_MISSING_PARAM"),
        ("keys/claim", {"one_time_keys": {ALICE: []}}, "M_BAD_JSON"),
        ("keys/claim", {"one_time_keys": {ALICE: {"A": 1}}}, "M_BAD_JSON"),
        ("keys/claim", {"one_time_keys": {"alice": {"A": "x"}}}, "M_INVALID_PARAM"),
        ("keys/claim", {"one_time_keys": {ALICE: {"A": "x\0"}}}, "M_BAD_JSON"),
        ("keys/upload/B", {}, "M_INVALID_PARAM"),
        ("keys/upload", {"one_time_keys": []}, "M_BAD_JSON"),
    ]
    for path, body, code in refusals:
        assert await server.refusal("POST", path, body, token) == (400, code), path
    assert await server.ok("POST", "keys/upload/A", {}, token)


@ensureDeferred
async def test_what_is_remembered_is_never_stale(server: TestServer, build_server: BuildServer) -> None:
    """A process that has not heard yet of new keys, names or devices answers as one that has."""
    deaf = await build_server(**OPEN)  # on a bus of its own
    alice, token = await _device(server, "alice", "A")
    _, other = await _device(server, "bob", "B")
    for process in (server, deaf):
        assert (await _query(process, other, alice=[]))["device_keys"] == {ALICE: {"A": alice.keys}}
    identity = Identity.of(ALICE)
    await server.ok("POST", "keys/device_signing/upload", identity.upload, token)
    signed = identity.self_signing.sign(alice.keys)
    await server.ok("POST", "keys/signatures/upload", {ALICE: {"A": signed}}, token)
    for process in (deaf, server):
        answer = await _query(process, other, alice=[])
        assert answer["device_keys"] == {ALICE: {"A": signed}}
        assert answer["master_keys"] == {ALICE: identity.key("master")}
    await server.ok("PUT", "devices/A", {"display_name": "new name"}, token)
    own = (await _query(deaf, token, alice=[]))["device_keys"][ALICE]["A"]
    assert own["unsigned"] == {"device_display_name": "new name"}
    await server.ok("POST", "logout", {}, token)
    for process in (deaf, server):
        assert (await _query(process, other, alice=[]))["device_keys"] == {ALICE: {}}
