"""What application services hear to encrypt as their users (MSC2409, MSC3202)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from synapse_lite.handlers.access_tokens import DeviceRequest
from synapse_lite.handlers.app_services import encryption
from synapse_lite.tasks.followers import NobodyListensError
from tests.app_service import AppServiceProcess, accept
from tests.rest.app_services import Bridge, open_bridges
from tests.rest.conftest import BuildServer
from tests.rest.encrypting_clients import client_of
from tests.server import path_part
from tests.signing import Device

FEATURES = {"msc2409_to_device_messages_enabled": True, "msc3202_transaction_extensions": True}
MESSAGES = "de.sorunome.msc2409.to_device"
REGISTRATION: dict[str, Any] = {"de.sorunome.msc2409.push_ephemeral": True, "org.matrix.msc3202": True}


@pytest_twisted.async_yield_fixture
async def service() -> AsyncIterator[AppServiceProcess]:
    service = AppServiceProcess()
    service.start()
    yield service
    await service.stop()


@pytest_twisted.async_yield_fixture
async def bridge(
    service: AppServiceProcess, build_server: BuildServer, tmp_path: Path
) -> AsyncIterator[Bridge]:
    (bridge,) = await open_bridges(
        build_server, tmp_path, [service], options={"experimental_features": FEATURES}, **REGISTRATION
    )
    yield bridge


async def ghost_with_device(bridge: Bridge) -> tuple[str, str]:
    """A ghost, and the token of its device `GHOST`."""
    ghost = await bridge.ghost("ghost")
    session = await bridge.server.core.accounts.access_tokens.open(ghost, DeviceRequest("GHOST"))
    return ghost, session.token


async def send(bridge: Bridge, token: str, ghost: str, *texts: str) -> None:
    for text in texts:
        body = {"messages": {ghost: {"*": {"text": text}}}}
        await bridge.server.ok("PUT", f"sendToDevice/m.test/{path_part(text)}", body, token)


def messages(bridge: Bridge) -> list[dict[str, Any]]:
    bodies = {one.txn_id: one.body for one in bridge.service.transactions}
    return [one for body in bodies.values() for one in body.get(MESSAGES, ())]


@pytest_twisted.ensureDeferred
async def test_messages_to_its_devices_come_once_and_leave_the_inbox(bridge: Bridge) -> None:
    alice = await bridge.server.register("alice")
    ghost, token = await ghost_with_device(bridge)
    await send(bridge, alice, ghost, "one", "two")
    await bridge.deliver()
    await send(bridge, alice, ghost, "three")
    await bridge.deliver()
    assert messages(bridge) == [
        {
            "type": "m.test",
            "sender": f"@alice:{bridge.server.name}",
            "content": {"text": text},
            "to_user_id": ghost,
            "to_device_id": "GHOST",
        }
        for text in ("one", "two", "three")
    ]
    assert "to_device" not in await bridge.server.ok("GET", "sync", None, token)


@pytest_twisted.ensureDeferred
async def test_messages_that_did_not_arrive_come_again(bridge: Bridge) -> None:
    """They wait where the transaction does: a device that asks meanwhile does not get them twice."""
    alice = await bridge.server.register("alice")
    ghost, token = await ghost_with_device(bridge)
    await bridge.skip()
    await send(bridge, alice, ghost, "kept")
    bridge.service.answer = lambda _asked: (500, {})
    told = await bridge.told()
    assert told is not None
    with pytest.raises(NobodyListensError):
        await bridge.hand(told)
    assert "to_device" not in await bridge.server.ok("GET", "sync", None, token)
    bridge.service.answer = accept
    bridge.service.asked.clear()
    await bridge.hand(told)
    assert [one["content"] for one in messages(bridge)] == [{"text": "kept"}]


@pytest_twisted.ensureDeferred
async def test_what_is_too_much_at_once_waits(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many devices are sent how much: a transaction has its bounds, and nothing is lost."""
    monkeypatch.setattr(encryption, "MAX_BYTES", 40)
    alice = await bridge.server.register("alice")
    ghost, token = await ghost_with_device(bridge)
    other = await bridge.ghost("other")
    await bridge.server.core.accounts.access_tokens.open(other, DeviceRequest("OTHER"))
    for text in ("one", "two", "three", "four", "five", "six"):
        await send(bridge, alice, ghost if len(text) == 3 else other, text)
    await bridge.deliver()
    assert len(messages(bridge)) == 3
    for number in range(8):
        await send(bridge, alice, ghost, f"g{number}")
        await send(bridge, alice, other, f"o{number}")
        await bridge.deliver()
    for name, texts in (("GHOST", ["one", "two", "six"]), ("OTHER", ["three", "four", "five"])):
        told = [one["content"]["text"] for one in messages(bridge) if one["to_device_id"] == name]
        assert told == texts + [f"{name[0].lower()}{number}" for number in range(8)]
    assert "to_device" not in await bridge.server.ok("GET", "sync", None, token)


@pytest_twisted.ensureDeferred
async def test_who_also_syncs_gets_them_there_too(
    service: AppServiceProcess, build_server: BuildServer, tmp_path: Path
) -> None:
    """A bridge whose devices ask by /sync does not ask to hear of keys: nothing is taken from them."""
    more = {**REGISTRATION, "org.matrix.msc3202": False}
    (bridge,) = await open_bridges(
        build_server, tmp_path, [service], options={"experimental_features": FEATURES}, **more
    )
    alice = await bridge.server.register("alice")
    ghost, token = await ghost_with_device(bridge)
    await send(bridge, alice, ghost, "both ways")
    await bridge.deliver()
    assert [one["content"] for one in messages(bridge)] == [{"text": "both ways"}]
    shown = await bridge.server.ok("GET", "sync", None, token)
    assert [one["content"] for one in shown["to_device"]["events"]] == [{"text": "both ways"}]


@pytest_twisted.ensureDeferred
async def test_without_the_features_nothing_of_devices_is_told(
    service: AppServiceProcess, build_server: BuildServer, tmp_path: Path
) -> None:
    (bridge,) = await open_bridges(build_server, tmp_path, [service], **REGISTRATION)
    alice = await bridge.server.register("alice")
    ghost, token = await ghost_with_device(bridge)
    await send(bridge, alice, ghost, "by sync only")
    await bridge.deliver()
    assert not bridge.service.asked
    shown = await bridge.server.ok("GET", "sync", None, token)
    assert [one["content"] for one in shown["to_device"]["events"]] == [{"text": "by sync only"}]


@pytest_twisted.ensureDeferred
async def test_device_lists_of_those_beside_its_users(bridge: Bridge) -> None:
    server = bridge.server
    alice = await client_of(server, "alice", "PHONE")
    await client_of(server, "bob", "PHONE")
    ghost, _ = await ghost_with_device(bridge)
    room = await server.room(alice.token)
    await bridge.act(ghost, "POST", f"{room}/join", {})
    await bridge.deliver()
    bridge.service.asked.clear()
    for name in ("alice", "bob"):
        await client_of(server, name, "LAPTOP", new=False)
    await bridge.deliver()
    lists = [
        one.body["org.matrix.msc3202.device_lists"]
        for one in bridge.service.transactions
        if "org.matrix.msc3202.device_lists" in one.body
    ]
    assert lists == [{"changed": [alice.user_id], "left": []}]


@pytest_twisted.ensureDeferred
async def test_how_many_keys_are_left_is_told_when_one_is_claimed(bridge: Bridge) -> None:
    alice = await bridge.server.register("alice")
    ghost, token = await ghost_with_device(bridge)
    device = Device.of(ghost, "GHOST")
    keys = {"device_keys": device.keys, "one_time_keys": device.one_time_keys("A", "B")}
    await bridge.server.ok("POST", "keys/upload", keys, token)
    await bridge.deliver()
    bridge.service.asked.clear()
    claim = {"one_time_keys": {ghost: {"GHOST": "signed_curve25519"}}}
    await bridge.server.ok("POST", "keys/claim", claim, alice)
    await bridge.deliver()
    (told,) = bridge.service.transactions
    counts = {ghost: {"GHOST": {"signed_curve25519": 1}}}
    assert told.body["org.matrix.msc3202.device_one_time_keys_count"] == counts
    assert told.body["org.matrix.msc3202.device_one_time_key_counts"] == counts
    assert told.body["org.matrix.msc3202.device_unused_fallback_key_types"] == {ghost: {"GHOST": []}}
    bridge.service.asked.clear()
    await bridge.server.ok("POST", "keys/claim", claim, alice)
    await bridge.deliver()
    (told,) = bridge.service.transactions
    assert told.body["org.matrix.msc3202.device_one_time_keys_count"] == {ghost: {"GHOST": {}}}
