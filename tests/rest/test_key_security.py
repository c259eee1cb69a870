"""What hostile clients may do with keys and devices: one test for each way that is known to have hurt a server."""

from threading import Event
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.canonical_json import encode
from synapse_lite.handlers import inboxes
from synapse_lite.handlers import to_device as handler
from synapse_lite.handlers.access_tokens import DeviceRequest
from synapse_lite.handlers.sync import to_device
from synapse_lite.storage import to_device as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.devices import lock_device
from tests.rest.conftest import BuildServer
from tests.server import OPEN, PASSWORD, TestServer
from tests.signing import Device, Identity, random_key

ALICE, MALLORY = "@alice:hs.test", "@mallory:hs.test"
ALGORITHM = "signed_curve25519"
DEHYDRATED = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"


async def _device(server: TestServer, name: str) -> tuple[Device, str]:
    """A user's first device, called as they are, whose keys are uploaded; and its token."""
    token = await server.register(name, device_id=name)
    device = Device.of(f"@{name}:hs.test", name)
    await server.ok("POST", "keys/upload", {"device_keys": device.keys}, token)
    return device, token


def _one_time_keys(device: Device, *names: str) -> dict[str, Any]:
    return {f"{ALGORITHM}:{name}": device.signer.sign({"key": random_key()}) for name in names}


async def _query(server: TestServer, token: str, *users: str) -> Any:
    return await server.ok("POST", "keys/query", {"device_keys": {user_id: [] for user_id in users}}, token)


@ensureDeferred
async def test_unvalidated_device_keys(server: TestServer) -> None:
    """Keys of another shape, too large or not signed by themselves are refused: nobody's answer ever holds them."""
    mallory, token = await _device(server, "mallory")
    _, other = await _device(server, "alice")
    keys = mallory.keys
    unsigned = {name: value for name, value in keys.items() if name != "signatures"}
    for hostile in (
        {**keys, "keys": {}},
        {**keys, "keys": [1]},
        {**keys, "algorithms": "all"},
        {**keys, "user_id": ALICE},
        {**keys, "device_id": "alice"},
        unsigned,
        {**keys, "signatures": {MALLORY: {mallory.signer.key_id: "AAAA"}}},
        mallory.signer.sign({**unsigned, "x": "y" * 70_000}),
        mallory.signer.sign({**unsigned, "x": 2**60}),
    ):
        status, _ = await server.refusal("POST", "keys/upload", {"device_keys": hostile}, token)
        assert status in {400, 413}
    answer = await _query(server, other, MALLORY, ALICE)
    assert answer["device_keys"][MALLORY] == {"mallory": keys}
    assert answer["failures"] == {}


@ensureDeferred
async def test_names_of_keys_are_measured_in_bytes(server: TestServer) -> None:
    """255 bytes with the algorithm, whatever the characters: other servers count so."""
    device, token = await _device(server, "alice")
    room = 255 - len(f"{ALGORITHM}:")
    for name, status in (("x" * room, 200), ("x" * (room + 1), 400), ("é" * (room // 2 + 1), 400)):
        body = {"one_time_keys": _one_time_keys(device, name)}
        assert (await server.call("POST", "keys/upload", body, token)).status == status


@ensureDeferred
async def test_huge_numbers_of_keys_and_devices(server: TestServer) -> None:
    """Refused before anything is looked for: keys of an upload, users and devices of a question, messages of a request."""
    _, token = await _device(server, "alice")
    many = [f"d{number}" for number in range(10_001)]
    keys = {f"curve25519:{number}": random_key() for number in range(1_001)}
    users = {f"@{name}:hs.test": [] for name in many}
    claims = {ALICE: dict.fromkeys(many, ALGORITHM)}
    for method, path, body in (
        ("POST", "keys/upload", {"one_time_keys": keys}),
        ("POST", "keys/query", {"device_keys": users}),
        ("POST", "keys/claim", {"one_time_keys": claims}),
        ("POST", "keys/claim", {"one_time_keys": {user_id: {} for user_id in users}}),
        ("PUT", "sendToDevice/m.test/1", {"messages": {ALICE: {name: {} for name in many}}}),
        ("PUT", "sendToDevice/m.test/2", {"messages": {user_id: {} for user_id in users}}),
        ("POST", "keys/signatures/upload", {ALICE: {name: {} for name in many}}),
    ):
        assert (await server.refusal(method, path, body, token))[0] == 400


@ensureDeferred
async def test_nul_in_names_of_keys_and_devices(server: TestServer) -> None:
    """PostgreSQL cannot hold it: 400 wherever it stands, but within a message, where it is an escape; no request hangs."""
    device, token = await _device(server, "alice")
    odd = "a\0b"
    for method, path, body in (
        ("POST", "keys/upload", {"one_time_keys": _one_time_keys(device, odd)}),
        ("POST", "keys/upload", {"one_time_keys": {f"{odd}:a": {"key": odd}}}),
        ("POST", "keys/upload", {"fallback_keys": _one_time_keys(device, odd)}),
        ("POST", "keys/query", {"device_keys": {ALICE: [odd]}}),
        ("POST", "keys/query", {"device_keys": {f"@{odd}:hs.test": []}}),
        ("POST", "keys/claim", {"one_time_keys": {ALICE: {odd: ALGORITHM}}}),
        ("POST", "keys/claim", {"one_time_keys": {ALICE: {"alice": odd}}}),
        ("PUT", "sendToDevice/m.test/1", {"messages": {ALICE: {odd: {}}}}),
        ("PUT", "sendToDevice/m%00test/2", {"messages": {ALICE: {"alice": {}}}}),
        ("PUT", "sendToDevice/m.test/%00", {"messages": {ALICE: {"alice": {}}}}),
        ("PUT", "devices/alice", {"display_name": odd}),
    ):
        assert (await server.refusal(method, path, body, token))[0] == 400, (path, body)
    await server.ok("PUT", "sendToDevice/m.test/3", {"messages": {ALICE: {"alice": {odd: odd}}}}, token)
    (event,) = (await server.ok("GET", "sync", None, token))["to_device"]["events"]
    assert event["content"] == {odd: odd}


@ensureDeferred
async def test_duplicate_names_in_keys(server: TestServer) -> None:
    """The last one counts for the signature and for what is told alike, so that nobody is shown what was not signed."""
    device, token = await _device(server, "alice")
    good = encode(device.keys)
    hidden = good.replace(b'{"algorithms":', b'{"algorithms":["evil"],"algorithms":', 1)
    assert (await server.call("POST", "keys/upload", b'{"device_keys":' + hidden + b"}", token)).status == 200
    assert (await _query(server, token, ALICE))["device_keys"][ALICE]["alice"]["keys"] == device.keys["keys"]
    shown = await server.call("POST", "keys/query", {"device_keys": {ALICE: []}}, token)
    assert b"evil" not in shown.body
    winning = good.replace(b'"device_id":', b'"algorithms":["evil"],"device_id":', 1)
    refused = await server.call("POST", "keys/upload", b'{"device_keys":' + winning + b"}", token)
    assert refused.status == 400


@ensureDeferred
async def test_exhausting_one_time_keys(server: TestServer) -> None:
    """Who claims all keys of a device gets its fallback key from then on, as does everybody; the device is told."""
    device, token = await _device(server, "alice")
    _, hostile = await _device(server, "mallory")
    body = {
        "one_time_keys": _one_time_keys(device, "a", "b"),
        "fallback_keys": _one_time_keys(device, "last"),
    }
    await server.ok("POST", "keys/upload", body, token)
    since = (await server.ok("GET", "sync", None, token))["next_batch"]
    claim = {"one_time_keys": {ALICE: {"alice": ALGORITHM}}}
    names = []
    for _ in range(5):
        claimed = await server.ok("POST", "keys/claim", claim, hostile)
        names += claimed["one_time_keys"][ALICE]["alice"]
    assert [name.removeprefix(f"{ALGORITHM}:") for name in names] == ["a", "b", "last", "last", "last"]
    told = await server.ok("GET", f"sync?since={since}&timeout=30000", None, token)
    assert told["device_one_time_keys_count"] == {ALGORITHM: 0}
    assert told["device_unused_fallback_key_types"] == []


@ensureDeferred
async def test_floods_of_device_list_changes(server: TestServer) -> None:
    """However often keys change, those who share a room are told once, and ask once."""
    _, token = await _device(server, "alice")
    room = await server.room(token)
    hostile = await server.register("mallory", device_id="D0")
    await server.ok("POST", f"{room}/join", {}, hostile)
    since = (await server.ok("GET", "sync", None, token))["next_batch"]
    for number in range(20):
        device = DeviceRequest(f"FLOOD{number}")
        device_token = (await server.core.accounts.access_tokens.open(MALLORY, device)).token
        keys = Device.of(MALLORY, f"FLOOD{number}").keys
        await server.ok("POST", "keys/upload", {"device_keys": keys}, device_token)
    answer = await server.ok("GET", f"sync?since={since}", None, token)
    assert answer["device_lists"] == {"changed": [MALLORY], "left": []}


@ensureDeferred
async def test_floods_of_messages_to_devices(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full inbox comes in bounded answers, in order, and what a device has is gone."""
    for module in (inboxes, to_device):
        monkeypatch.setattr(module, "MAX_DELIVERED", 7)
    _, token = await _device(server, "alice")
    _, hostile = await _device(server, "mallory")
    for number in range(20):
        body = {"messages": {ALICE: {"alice": {"number": number}}}}
        await server.ok("PUT", f"sendToDevice/m.test/{number}", body, hostile)
    query, sizes, numbers = "", [], []
    for _ in range(4):
        answer = await server.ok("GET", f"sync{query}", None, token)
        events = answer.get("to_device", {}).get("events", [])
        sizes.append(len(events))
        numbers += [event["content"]["number"] for event in events]
        query = f"?since={answer['next_batch']}"
    assert sizes == [7, 7, 6, 0]
    assert numbers == [*range(20)]


@pytest.mark.parametrize(("bound", "value"), [("MAX_DEVICES", 3), ("MAX_BYTES", 7)])
@ensureDeferred
async def test_messages_to_more_devices_than_were_named(
    server: TestServer, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    """A request for all devices of users counts as many as they have: beyond the bounds it is refused, and nothing is sent."""
    monkeypatch.setattr(handler, bound, value)
    _, token = await _device(server, "alice")
    _, other = await _device(server, "bob")
    body = {"messages": {ALICE: {"*": {}}, "@bob:hs.test": {"*": {}}}}
    await server.ok("PUT", "sendToDevice/m.test/1", body, other)
    for number in range(2):
        await server.core.accounts.access_tokens.open(ALICE, DeviceRequest(f"D{number}"))
    too_large = (413, "M_TOO_LARGE")
    assert await server.refusal("PUT", "sendToDevice/m.test/2", body, other) == too_large
    assert len((await server.ok("GET", "sync", None, token))["to_device"]["events"]) == 1


@pytest.mark.parametrize(("bound", "value"), [("MOST_WAITING", 5), ("MOST_WAITING_BYTES", 65)])
@ensureDeferred
async def test_an_inbox_that_nobody_empties(
    server: TestServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    bound: str,
    value: int,
) -> None:
    """So many messages wait, or so many bytes, when another comes: of more the oldest go, and those of nobody else.

    A metric counts them, and the log says whose they were.
    """
    monkeypatch.setattr(store, "TRIMMED_ONE_IN", 1)
    monkeypatch.setattr(store, bound, value)
    _, token = await _device(server, "alice")
    _, hostile = await _device(server, "mallory")
    for number in range(9):
        content = {"number": number}  # 12 bytes
        addressed = {ALICE: {"alice": content}} | ({MALLORY: {"mallory": content}} if number < 3 else {})
        await server.ok("PUT", f"sendToDevice/m.test/{number}", {"messages": addressed}, hostile)
    for of, numbers in ((token, [3, 4, 5, 6, 7, 8]), (hostile, [0, 1, 2])):
        events = (await server.ok("GET", "sync", None, of))["to_device"]["events"]
        assert [event["content"]["number"] for event in events] == numbers
    assert server.core.metrics.get_sample_value("synapse_lite_to_device_dropped_total") == 3
    said = [
        one.getMessage() for one in caplog.records if one.name == "synapse_lite.handlers.dropped_messages"
    ]
    told = f"1 messages to device alice of {ALICE}, which does not fetch them, are dropped"
    assert said == [told] * 3


@ensureDeferred
async def test_floods_of_messages_reach_the_measure(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the next of so many requests the inbox is measured, whoever sends them."""
    drawn: list[int] = []

    def draw(most: int) -> int:
        drawn.append(most)
        return len(drawn) % 3

    monkeypatch.setattr(store, "randbelow", draw)
    monkeypatch.setattr(store, "MOST_WAITING", 1)
    _, token = await _device(server, "alice")
    for number in range(3):
        body = {"messages": {ALICE: {"*": {"number": number}}}}
        await server.ok("PUT", f"sendToDevice/m.test/{number}", body, token)
    assert drawn == [store.TRIMMED_ONE_IN] * 3
    events = (await server.ok("GET", "sync", None, token))["to_device"]["events"]
    assert [event["content"]["number"] for event in events] == [1, 2]


@ensureDeferred
async def test_conflicting_uploads_wait_for_nobody(server: TestServer) -> None:
    """Another key under a known id is refused although the device is locked: a thousand tries pile up before no lock."""
    device, token = await _device(server, "alice")
    await server.ok("POST", "keys/upload", {"one_time_keys": _one_time_keys(device, "a")}, token)
    conflicting = {"one_time_keys": _one_time_keys(device, "a")}

    def lock(txn: Transaction) -> None:
        assert lock_device(txn, ALICE, "alice")
        locked.set()
        assert refused.wait(300)

    locked, refused = Event(), Event()
    holding = Deferred.fromCoroutine(server.database.transact(lock))
    try:
        await deferToThread(locked.wait, 300)
        answers = [await server.refusal("POST", "keys/upload", conflicting, token) for _ in range(20)]
    finally:
        refused.set()
        await holding
    assert answers == [(400, "M_UNKNOWN")] * 20


@ensureDeferred
async def test_old_identities_are_no_devices(server: TestServer) -> None:
    """After three resets of an identity there is one device still, and a message to all devices is one."""
    _, token = await _device(server, "alice")
    for number in range(3):
        body, path = Identity.of(ALICE).upload, "keys/device_signing/upload"
        if number > 0:
            asked = await server.call("POST", path, body, token)
            identifier = {"type": "m.id.user", "user": "alice"}
            proof = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
            body["auth"] = {**proof, "session": asked.json()["session"]}
        await server.ok("POST", path, body, token)
    devices = await server.ok("GET", "devices", None, token)
    assert [one["device_id"] for one in devices["devices"]] == ["alice"]
    await server.ok("PUT", "sendToDevice/m.test/1", {"messages": {ALICE: {"*": {}}}}, token)
    assert await server.database.read(lambda txn: txn.value("SELECT count(*) FROM device_inbox")) == 1


@ensureDeferred
async def test_floods_of_key_uploads(build_server: BuildServer) -> None:
    """Keys, cross-signing keys, signatures and dehydrated devices of one user have one limit; others are not held up."""
    server = await build_server(**OPEN, rc_key_uploads={"per_second": 0.01, "burst_count": 3})
    device, token = await _device(server, "mallory")
    await server.ok("POST", "keys/upload", {"one_time_keys": _one_time_keys(device, "a")}, token)
    await server.ok("POST", "keys/signatures/upload", {}, token)
    limited = (429, "M_LIMIT_EXCEEDED")
    assert await server.refusal("POST", "keys/upload", {}, token) == limited
    assert await server.refusal("POST", "keys/signatures/upload", {}, token) == limited
    dehydrated = Device.of(MALLORY, "D")
    body = {"device_id": "D", "device_data": {"algorithm": "m.test"}, "device_keys": dehydrated.keys}
    assert await server.refusal("PUT", DEHYDRATED, body, token) == limited
    await _device(server, "alice")
    server.clock.advance(100)
    await server.ok("POST", "keys/upload", {}, token)


@ensureDeferred
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "keys/upload"),
        ("POST", "keys/device_signing/upload"),
        ("POST", "keys/signatures/upload"),
        ("PUT", DEHYDRATED),
    ],
)
async def test_floods_of_bad_keys(build_server: BuildServer, method: str, path: str) -> None:
    """What has to be parsed and verified to be refused costs as much: the limit is asked first, and counts it."""
    server = await build_server(**OPEN, rc_key_uploads={"per_second": 0.01, "burst_count": 1})
    token = await server.register("mallory")
    bad = {"device_keys": [], "master_key": [], MALLORY: [], "device_id": 1}
    assert (await server.refusal(method, path, bad, token))[0] == 400
    assert await server.refusal(method, path, bad, token) == (429, "M_LIMIT_EXCEEDED")


@ensureDeferred
async def test_keys_of_strangers_devices_cannot_be_guessed(server: TestServer) -> None:
    """A user who does not exist and one without keys look alike; names of devices are their owner's secret."""
    _, token = await _device(server, "mallory")
    await server.register("alice", device_id="SECRET", initial_device_display_name="Alice's laptop")
    answer = await _query(server, token, ALICE, "@nobody:hs.test")
    assert answer["device_keys"] == {ALICE: {}, "@nobody:hs.test": {}}
    assert "laptop" not in str(answer)
