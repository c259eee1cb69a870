"""Keys that are uploaded, and signed, by several requests at once."""

from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from synapse_lite.tasks.actions.delete_device_messages import delete_devices
from tests.rest.contention import WAITING, locked_until_met
from tests.server import PASSWORD, TestServer
from tests.signing import Device, Identity

ALICE = "@alice:hs.test"
UPLOAD, SIGN = "keys/device_signing/upload", "keys/signatures/upload"
USER = "SELECT FROM users WHERE user_id = %s"
STREAM = "SELECT FROM stream_position"


async def _sessions(server: TestServer) -> tuple[str, str]:
    """Those of alice's devices A and B."""
    first = await server.register("alice", device_id="A")
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD, "device_id": "B"}
    return first, (await server.ok("POST", "login", login))["access_token"]


async def _shown(server: TestServer, token: str) -> Any:
    return await server.ok("POST", "keys/query", {"device_keys": {ALICE: []}}, token)


@ensureDeferred
async def test_of_two_first_uploads_one_needs_a_password(server: TestServer) -> None:
    """Nobody's new keys are replaced without a proof by who uploads at the same moment."""
    tokens, identities = await _sessions(server), [Identity.of(ALICE) for _ in range(2)]
    async with locked_until_met(server, 2, USER, [ALICE]):
        uploads = [
            Deferred.fromCoroutine(server.call("POST", UPLOAD, identity.upload, token))
            for identity, token in zip(identities, tokens, strict=True)
        ]
    answers = await gatherResults(uploads)
    assert sorted(answer.status for answer in answers) == [200, 401]
    (stored,) = (one for one, answer in zip(identities, answers, strict=True) if answer.status == 200)
    assert (await _shown(server, tokens[0]))["master_keys"][ALICE] == stored.key("master")


@ensureDeferred
async def test_of_two_first_keys_of_a_device_one_is_stored(server: TestServer) -> None:
    """The other one is refused: those who have seen the first would encrypt for nobody."""
    token, devices = await server.register("alice", device_id="A"), [Device.of(ALICE, "A") for _ in range(2)]
    async with locked_until_met(server, 2, "SELECT FROM devices WHERE user_id = %s", [ALICE]):
        uploads = [
            Deferred.fromCoroutine(server.call("POST", "keys/upload", {"device_keys": one.keys}, token))
            for one in devices
        ]
    answers = await gatherResults(uploads)
    assert sorted(answer.status for answer in answers) == [200, 400]
    (stored,) = (one for one, answer in zip(devices, answers, strict=True) if answer.status == 200)
    assert (await _shown(server, token))["device_keys"][ALICE]["A"]["keys"] == stored.keys["keys"]


@ensureDeferred
async def test_a_key_beside_a_reset_fits_the_master_key(server: TestServer) -> None:
    """A self-signing key that the old master key signed is not stored beside a new one."""
    first, second = await _sessions(server)
    old, new = Identity.of(ALICE), Identity.of(ALICE)
    await server.ok("POST", UPLOAD, old.upload, first)
    proof = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}}
    auth = {"auth": {**proof, "password": PASSWORD}}
    late = Identity(ALICE, old.master, Identity.of(ALICE).self_signing, old.user_signing)
    bodies = {first: new.upload, second: {"self_signing_key": late.key("self_signing")}}
    async with locked_until_met(server, 2, USER, [ALICE]):
        uploads = [
            Deferred.fromCoroutine(server.call("POST", UPLOAD, {**body, **auth}, token))
            for token, body in bodies.items()
        ]
    await gatherResults(uploads)
    shown = await _shown(server, first)
    signed_by = shown["self_signing_keys"][ALICE]["signatures"][ALICE]
    assert list(signed_by) == list(shown["master_keys"][ALICE]["keys"])


@ensureDeferred
async def test_a_signature_beside_the_end_of_its_device(server: TestServer) -> None:
    """It does not stay behind, for whatever device has that id later."""
    first, second = await _sessions(server)
    device, identity = Device.of(ALICE, "A"), Identity.of(ALICE)
    await server.ok("POST", "keys/upload", {"device_keys": device.keys}, first)
    await server.ok("POST", UPLOAD, identity.upload, first)
    signed = {ALICE: {"A": identity.self_signing.sign(device.keys)}}
    async with locked_until_met(server, 2, STREAM, []):
        ending = Deferred.fromCoroutine(server.database.transact(delete_devices, ALICE, ["A"]))
        while not await server.database.read(lambda txn: txn.value(WAITING)):
            await deferLater(reactor, 0.01)
        signing = Deferred.fromCoroutine(server.ok("POST", SIGN, signed, second))
    await ending
    assert (await signing)["failures"][ALICE]["A"]["errcode"] == "M_NOT_FOUND"
    assert await server.database.read(lambda txn: txn.value("SELECT count(*) FROM key_signatures")) == 0


@ensureDeferred
async def test_another_content_of_a_known_key_needs_a_password(server: TestServer) -> None:
    """With it all signatures on the key would become bad ones."""
    token, _ = await _sessions(server)
    identity = Identity.of(ALICE)
    await server.ok("POST", UPLOAD, identity.upload, token)
    other = {"master_key": {**identity.key("master"), "more": 1}}
    assert (await server.call("POST", UPLOAD, other, token)).status == 401
    assert (await _shown(server, token))["master_keys"][ALICE] == identity.key("master")
