"""Cross-signing keys and signatures over HTTP."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.handlers.cross_signing import REPLACEABLE_MS
from tests.rest.conftest import BuildServer
from tests.rest.test_sliding_sync_live import count_statements
from tests.server import OPEN, PASSWORD, TestServer
from tests.signing import Device, Identity, Signer

ALICE, BOB = "@alice:hs.test", "@bob:hs.test"
UPLOAD = "keys/device_signing/upload"
SIGN = "keys/signatures/upload"


async def _user(server: TestServer, name: str, device_id: str) -> tuple[Device, Identity, str]:
    """A user with a device and cross-signing keys, all uploaded; and the token."""
    token = await server.register(name, device_id=device_id)
    user_id = f"@{name}:hs.test"
    device, identity = Device.of(user_id, device_id), Identity.of(user_id)
    await server.ok("POST", "keys/upload", {"device_keys": device.keys}, token)
    await server.ok("POST", UPLOAD, identity.upload, token)
    return device, identity, token


async def _query(server: TestServer, token: str, *users: str) -> Any:
    return await server.ok("POST", "keys/query", {"device_keys": {user: [] for user in users}}, token)


async def _sign(server: TestServer, token: str, user_id: str, target: str, value: Any) -> Any:
    return (await server.ok("POST", SIGN, {user_id: {target: value}}, token))["failures"]


def _auth(session: str | None = None) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": "alice"}
    proof = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    return {**proof, "session": session} if session else proof


@ensureDeferred
async def test_the_first_keys_need_no_password(server: TestServer) -> None:
    """Nor do the same ones again, after a lost answer; other ones do, also a single one."""
    _, identity, token = await _user(server, "alice", "A")
    assert await server.ok("POST", UPLOAD, identity.upload, token) == {}
    other = Identity(ALICE, identity.master, Signer(ALICE, ""), Signer(ALICE, ""))
    for body in ({"self_signing_key": other.key("self_signing")}, Identity.of(ALICE).upload):
        asked = await server.call("POST", UPLOAD, body, token)
        assert asked.status == 401
        assert asked.json()["flows"] == [{"stages": ["m.login.password"]}]
        proof = {**body, "auth": _auth(asked.json()["session"])}
        assert await server.ok("POST", UPLOAD, proof, token) == {}


@ensureDeferred
async def test_a_proof_is_not_lost_to_the_limit(build_server: BuildServer) -> None:
    """A request with a proof counts once, and is refused before the proof is used up."""
    server = await build_server(**OPEN, rc_key_uploads={"per_second": 0.01, "burst_count": 2})
    token = await server.register("alice", device_id="A")
    await server.ok("POST", UPLOAD, Identity.of(ALICE).upload, token)
    body = Identity.of(ALICE).upload
    asked = await server.call("POST", UPLOAD, body, token)
    proof = {**body, "auth": _auth(asked.json()["session"])}
    assert await server.refusal("POST", UPLOAD, proof, token) == (429, "M_LIMIT_EXCEEDED")
    server.clock.advance(100)
    assert await server.ok("POST", UPLOAD, proof, token) == {}
    assert await server.refusal("POST", UPLOAD, proof, token) == (429, "M_LIMIT_EXCEEDED")


@ensureDeferred
async def test_an_administrator_may_allow_the_replacement(server: TestServer) -> None:
    """Without a password, for ten minutes, once."""
    _, _, token = await _user(server, "alice", "A")
    admin = await server.user("admin", is_admin=True)
    path = f"/_synapse/admin/v1/users/{ALICE}/_allow_cross_signing_replacement_without_uia"
    assert (await server.call("POST", path, {}, token)).status == 403
    answer = await server.ok("POST", path, {}, admin)
    assert list(answer) == ["updatable_without_uia_before_ms"]
    assert 0 < answer["updatable_without_uia_before_ms"] - server.clock.now_ms() <= REPLACEABLE_MS
    assert await server.ok("POST", UPLOAD, Identity.of(ALICE).upload, token) == {}
    assert (await server.call("POST", UPLOAD, Identity.of(ALICE).upload, token)).status == 401
    await server.ok("POST", path, {}, admin)
    server.clock.advance(REPLACEABLE_MS / 1000)
    assert (await server.call("POST", UPLOAD, Identity.of(ALICE).upload, token)).status == 401
    nobody = path.replace("alice", "nobody")
    assert await server.refusal("POST", nobody, {}, admin) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_cross_signing_keys_are_shown(server: TestServer) -> None:
    """Master and self-signing keys to all, the user-signing key to its owner alone."""
    _, alice, token = await _user(server, "alice", "A")
    _, _, other = await _user(server, "bob", "B")
    own = await _query(server, token, ALICE)
    assert own["master_keys"] == {ALICE: alice.key("master")}
    assert own["self_signing_keys"] == {ALICE: alice.key("self_signing")}
    assert own["user_signing_keys"] == {ALICE: alice.key("user_signing")}
    seen = await _query(server, other, ALICE, BOB)
    assert seen["master_keys"][ALICE] == alice.key("master")
    assert list(seen["user_signing_keys"]) == [BOB]


@ensureDeferred
async def test_cross_signing_keys_are_checked(server: TestServer) -> None:
    """Their owner, usage, name and the signature of the master key."""
    token = await server.register("alice", device_id="A")
    alice = Identity.of(ALICE)
    stranger = Identity.of(ALICE)
    master = alice.key("master")
    refusals = [
        ({}, "M_MISSING_PARAM"),
        ({"self_signing_key": alice.key("self_signing")}, "M_MISSING_PARAM"),
        ({"master_key": []}, "M_BAD_JSON"),
        ({"master_key": Identity.of(BOB).key("master")}, "M_INVALID_PARAM"),
        ({"master_key": {**master, "usage": ["self_signing"]}}, "M_INVALID_PARAM"),
        ({"master_key": {**master, "keys": {}}}, "M_INVALID_PARAM"),
        ({"master_key": {**master, "keys": {"ed25519:A": alice.master.public_key}}}, "M_INVALID_PARAM"),
        ({"master_key": {**master, "keys": {"ed25519:x": "x"}}}, "M_BAD_JSON"),
        ({"master_key": master, "self_signing_key": stranger.key("self_signing")}, "M_INVALID_SIGNATURE"),
        (
            {"master_key": master, "user_signing_key": {**master, "usage": ["user_signing"]}},
            "M_INVALID_PARAM",
        ),
    ]
    for body, code in refusals:
        assert await server.refusal("POST", UPLOAD, body, token) == (400, code), body
    assert (await _query(server, token, ALICE))["master_keys"] == {}


@ensureDeferred
async def test_own_devices_are_signed(server: TestServer) -> None:
    """By the self-signing key; everybody sees it, and a newer signature takes the place of the older."""
    device, alice, token = await _user(server, "alice", "A")
    other = await server.register("bob")
    changed = {**device.keys, "algorithms": ["m.megolm.v1.aes-sha2"]}
    for keys in (device.keys, device.signer.sign(changed)):
        for _ in range(2):
            await server.ok("POST", "keys/upload", {"device_keys": keys}, token)
            assert await _sign(server, token, ALICE, "A", alice.self_signing.sign(keys)) == {}
        shown = (await _query(server, other, ALICE))["device_keys"][ALICE]["A"]
        assert shown == alice.self_signing.sign(keys)


@ensureDeferred
async def test_a_signature_on_somebody_else_is_the_signers_secret(server: TestServer) -> None:
    """A user-signing key signs the master key of others; only the signer sees that."""
    _, alice, token = await _user(server, "alice", "A")
    _, bob, other = await _user(server, "bob", "B")
    signed = alice.user_signing.sign(bob.key("master"))
    assert await _sign(server, token, BOB, bob.master.public_key, signed) == {}
    assert (await _query(server, token, BOB))["master_keys"][BOB] == signed
    assert (await _query(server, other, BOB))["master_keys"][BOB] == bob.key("master")


@ensureDeferred
async def test_devices_sign_their_owners_master_key(server: TestServer) -> None:
    """With the upload of the key or later; only with good signatures of known devices."""
    device, alice, token = await _user(server, "alice", "A")
    signed = device.signer.sign(alice.key("master"))
    assert await _sign(server, token, ALICE, alice.master.public_key, signed) == {}
    assert (await _query(server, token, ALICE))["master_keys"][ALICE] == signed
    new = Identity.of(ALICE)
    body = {**new.upload, "master_key": device.signer.sign(Signer(BOB, "B").sign(new.key("master")))}
    await server.ok("POST", UPLOAD, {**body, "auth": _auth()}, token)
    shown = (await _query(server, token, ALICE))["master_keys"][ALICE]
    assert shown == device.signer.sign(new.key("master"))


@ensureDeferred
async def test_wrong_signatures_are_reported_one_by_one(server: TestServer) -> None:
    """Each with its reason; the good ones beside them are stored."""
    device, alice, token = await _user(server, "alice", "A")
    bobs, bob, _ = await _user(server, "bob", "B")
    forged = Signer(ALICE, "").sign(device.keys)
    stolen = {**device.keys, "signatures": {ALICE: {alice.self_signing.key_id: "AAAA"}}}
    body = {
        ALICE: {
            "A": alice.self_signing.sign(device.keys),
            "unknown": alice.self_signing.sign(device.keys),
            alice.master.public_key: alice.user_signing.sign(alice.key("master")),
        },
        BOB: {"B": alice.self_signing.sign(bobs.keys), bob.master.public_key: "no object"},
    }
    failures = (await server.ok("POST", SIGN, body, token))["failures"]
    codes = {user: {name: one["errcode"] for name, one in of.items()} for user, of in failures.items()}
    assert codes == {
        ALICE: {"unknown": "M_NOT_FOUND", alice.master.public_key: "M_INVALID_SIGNATURE"},
        BOB: {"B": "M_NOT_FOUND", bob.master.public_key: "M_INVALID_PARAM"},
    }
    shown = (await _query(server, token, ALICE))["device_keys"][ALICE]["A"]
    assert shown == alice.self_signing.sign(device.keys)
    for value, code in (
        (forged, "M_INVALID_SIGNATURE"),
        (stolen, "M_INVALID_SIGNATURE"),
        (alice.self_signing.sign({**device.keys, "more": 1}), "M_INVALID_PARAM"),
    ):
        failure = await _sign(server, token, ALICE, "A", value)
        assert failure[ALICE]["A"]["errcode"] == code
    for bad in ({ALICE: []}, {"alice": {}}, {ALICE: {"A": {"text": "x" * 70_000}}}):
        assert (await server.call("POST", SIGN, bad, token)).status in (400, 413)


@ensureDeferred
async def test_signatures_on_the_keys_of_many(server: TestServer) -> None:
    """They take as many statements as those of one; users of whom nothing is signed are none."""
    _, identity, token = await _user(server, "alice", "A")
    numbers = []
    for count in (1, 50):
        signed = {f"@user{number}:hs.test": {"X": identity.key("master")} for number in range(count)}
        sent: list[str] = []
        with count_statements(sent):
            answer = await server.ok("POST", SIGN, {**signed, "@nobody:hs.test": {}}, token)
        assert answer["failures"].keys() == signed.keys()
        numbers.append(len(sent))
    assert numbers[0] == numbers[1]


@ensureDeferred
async def test_signatures_end_with_what_they_sign(server: TestServer) -> None:
    """With the device, also for its successor of that id; with the key that made them or bears them, on a reset."""
    device, alice, token = await _user(server, "alice", "A")
    await _sign(server, token, ALICE, "A", alice.self_signing.sign(device.keys))
    master = alice.master.public_key
    await _sign(server, token, ALICE, master, device.signer.sign(alice.key("master")))
    second = await server.ok(
        "POST", "login", {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    )
    body = {"devices": ["A"], "auth": _auth()}
    await server.ok("POST", "delete_devices", body, second["access_token"])
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD, "device_id": "A"}
    token = (await server.ok("POST", "login", login))["access_token"]
    successor = Device.of(ALICE, "A")
    await server.ok("POST", "keys/upload", {"device_keys": successor.keys}, token)
    assert (await _query(server, token, ALICE))["master_keys"][ALICE] == alice.key("master")
    await _sign(server, token, ALICE, master, successor.signer.sign(alice.key("master")))
    assert (await _query(server, token, ALICE))["device_keys"][ALICE]["A"]["signatures"] == successor.keys[
        "signatures"
    ]
    signed = alice.self_signing.sign(successor.keys)
    assert await _sign(server, token, ALICE, "A", signed) == {}
    assert (await _query(server, token, ALICE))["device_keys"][ALICE]["A"]["signatures"] == signed[
        "signatures"
    ]
    await server.ok("POST", UPLOAD, {**Identity.of(ALICE).upload, "auth": _auth()}, token)
    shown = (await _query(server, token, ALICE))["device_keys"][ALICE]["A"]
    assert shown["signatures"] == successor.keys["signatures"]
    assert len((await server.ok("GET", "devices", token=token))["devices"]) == 2
    rows = await server.database.read(lambda txn: txn.value("SELECT count(*) FROM key_signatures"))
    assert rows == 0


@ensureDeferred
async def test_each_key_is_another_one(server: TestServer) -> None:
    """A key does not serve two usages."""
    token = await server.register("alice", device_id="A")
    alice = Identity.of(ALICE)
    same = Identity(ALICE, alice.master, alice.self_signing, alice.self_signing)
    assert await server.refusal("POST", UPLOAD, same.upload, token) == (400, "M_INVALID_PARAM")
