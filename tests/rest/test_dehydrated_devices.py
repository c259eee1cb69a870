"""Dehydrated devices over HTTP."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers import dehydrated_devices
from synapse_lite.tasks import periodic
from tests.rest.contention import locked_until_met
from tests.server import PASSWORD, TestServer
from tests.signing import Device

PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
ALICE = "@alice:hs.test"
DATA = {"algorithm": "m.dehydration.v2", "device_pickle": "secret"}


def _body(device: Device, **more: Any) -> dict[str, Any]:
    return {
        "device_id": device.signer.name,
        "device_data": DATA,
        "device_keys": device.keys,
        "one_time_keys": device.one_time_keys("1"),
        "fallback_keys": device.fallback_keys("F"),
        **more,
    }


async def _put(server: TestServer, token: str, device_id: str) -> Device:
    device = Device.of(ALICE, device_id)
    answer = await server.ok("PUT", PATH, _body(device), token)
    assert answer == {"device_id": device_id}
    return device


async def _keys(server: TestServer, token: str) -> Any:
    answer = await server.ok("POST", "keys/query", {"device_keys": {ALICE: []}}, token)
    return answer["device_keys"][ALICE]


async def _send(server: TestServer, token: str, txn_id: str, count: int = 1) -> None:
    for number in range(count):
        messages = {"messages": {ALICE: {"*": {"n": number}}}}
        await server.ok("PUT", f"sendToDevice/m.test/{txn_id}{number}", messages, token)


@ensureDeferred
async def test_a_dehydrated_device_takes_the_place_of_the_earlier_one(server: TestServer) -> None:
    """With its keys, in one step; deleted, nothing of it is left."""
    token = await server.register("alice", device_id="A")
    assert await server.refusal("GET", PATH, token=token) == (404, "M_NOT_FOUND")
    assert await server.refusal("DELETE", PATH, token=token) == (404, "M_NOT_FOUND")
    for device_id in ("S1", "S2"):
        device = await _put(server, token, device_id)
        assert await server.ok("GET", PATH, token=token) == {"device_id": device_id, "device_data": DATA}
        assert await _keys(server, token) == {device_id: device.keys}
    wanted = {"one_time_keys": {ALICE: {"S2": "signed_curve25519"}}}
    claimed = await server.ok("POST", "keys/claim", wanted, token)
    assert list(claimed["one_time_keys"][ALICE]["S2"]) == ["signed_curve25519:1"]
    assert await server.ok("DELETE", PATH, token=token) == {"device_id": "S2"}
    assert await _keys(server, token) == {}
    assert (await server.ok("POST", "keys/claim", wanted, token))["one_time_keys"] == {}
    assert [one["device_id"] for one in (await server.ok("GET", "devices", token=token))["devices"]] == ["A"]


@ensureDeferred
async def test_two_that_are_put_at_once(server: TestServer) -> None:
    """One of them is left, with its keys."""
    token = await server.register("alice", device_id="A")
    await _put(server, token, "S")
    async with locked_until_met(server, 2, "SELECT FROM users WHERE user_id = %s", [ALICE]):
        putting = [Deferred.fromCoroutine(_put(server, token, device_id)) for device_id in ("S1", "S2")]
    devices = {device.signer.name: device.keys for device in await gatherResults(putting)}
    left = (await server.ok("GET", PATH, token=token))["device_id"]
    assert await _keys(server, token) == {left: devices[left]}


@ensureDeferred
async def test_reading_its_messages_deletes_none(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page, as often as one likes; the last page is empty and has no successor."""
    monkeypatch.setattr(dehydrated_devices, "MAX_DELIVERED", 2)
    token = await server.register("alice", device_id="A")
    await _put(server, token, "S")
    await _send(server, await server.register("bob"), "t", 3)
    for method in ("POST", "GET", "POST"):
        seen: list[int] = []
        batch = None
        while True:
            body = None if method == "GET" else {"next_batch": batch} if batch else {}
            query = f"?next_batch={batch}" if method == "GET" and batch else ""
            page = await server.ok(method, f"{PATH}/S/events{query}", body, token)
            if not page["events"]:
                break
            seen += [event["content"]["n"] for event in page["events"]]
            batch = page["next_batch"]
        assert seen == [0, 1, 2]
        assert "next_batch" not in page
    await _put(server, token, "S2")
    assert (await server.ok("POST", f"{PATH}/S2/events", {}, token))["events"] == []
    for wrong in ("S", "A"):
        assert await server.refusal("POST", f"{PATH}/{wrong}/events", {}, token) == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_it_outlives_sessions_and_cleanups(server: TestServer) -> None:
    """Logging out everywhere, changing the password and clearing away stale devices leave it alone."""
    token = await server.register("alice", device_id="A")
    await _put(server, token, "S")
    change = {
        "new_password": "second",
        "auth": {"type": "m.login.password", "user": "alice", "password": PASSWORD},
    }
    await server.ok("POST", "account/password", change, token)
    cleanup = periodic.delete_stale_devices(server.clock, -1_000_000)
    await server.database.transact(cleanup.parts["devices"], 0, 100)
    login = {"type": "m.login.password", "user": "alice", "password": "second"}
    token = (await server.ok("POST", "login", login))["access_token"]
    await server.ok("POST", "logout/all", {}, token)
    token = (await server.ok("POST", "login", login))["access_token"]
    assert (await server.ok("GET", PATH, token=token))["device_id"] == "S"
    assert list(await _keys(server, token)) == ["S"]


@ensureDeferred
async def test_bad_dehydrated_devices_are_refused(server: TestServer) -> None:
    """The earlier one stays as it is."""
    token = await server.register("alice", device_id="A")
    kept = await _put(server, token, "S")
    other = Device.of(ALICE, "T")
    refusals = [
        ({}, (400, "M_MISSING_PARAM")),
        ({**_body(other), "device_id": "A"}, (400, "M_INVALID_PARAM")),
        (_body(Device.of(ALICE, "A")), (400, "M_INVALID_PARAM")),
        ({**_body(other), "device_keys": None}, (400, "M_BAD_JSON")),
        ({**_body(other), "device_keys": {**other.keys, "signatures": {}}}, (400, "M_INVALID_SIGNATURE")),
        ({**_body(other), "device_data": "text"}, (400, "M_BAD_JSON")),
        ({**_body(other), "device_data": {"text": "x"}}, (400, "M_MISSING_PARAM")),
        ({**_body(other), "device_data": {**DATA, "algorithm": 1}}, (400, "M_BAD_JSON")),
        ({**_body(other), "device_data": {**DATA, "text": "x" * 70_000}}, (413, "M_TOO_LARGE")),
        (
            {**_body(other), "one_time_keys": Device.of(ALICE, "T").one_time_keys("1")},
            (400, "M_INVALID_SIGNATURE"),
        ),
    ]
    for body, refusal in refusals:
        assert await server.refusal("PUT", PATH, body, token) == refusal
    assert await _keys(server, token) == {"S": kept.keys}


@ensureDeferred
async def test_no_session_takes_over_a_dehydrated_device(server: TestServer) -> None:
    """A log-in with its id is refused, and it keeps its keys and messages; once it is deleted the id is free."""
    token = await server.register("alice", device_id="A")
    device = await _put(server, token, "S")
    await _send(server, token, "t")
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD, "device_id": "S"}
    assert await server.refusal("POST", "login", login) == (400, "M_INVALID_PARAM")
    assert (await server.ok("GET", PATH, token=token))["device_id"] == "S"
    assert await _keys(server, token) == {"S": device.keys}
    assert len((await server.ok("POST", f"{PATH}/S/events", {}, token))["events"]) == 1
    await server.ok("DELETE", PATH, token=token)
    session = (await server.ok("POST", "login", login))["access_token"]
    assert await _keys(server, token) == {}
    assert "to_device" not in await server.ok("GET", "sync", token=session)
