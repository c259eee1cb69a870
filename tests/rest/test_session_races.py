"""Sessions of one device that begin and end at once."""

import logging
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from synapse_lite.tasks.actions.delete_device_messages import delete_devices
from tests.rest.contention import WAITING, locked_until_met
from tests.server import PASSWORD, TestServer

ALICE = "@alice:hs.test"
DEVICE = "SELECT FROM devices WHERE user_id = %s"
STREAM = "SELECT FROM stream_position"


async def _login(server: TestServer, **more: Any) -> Any:
    """As the device A."""
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD, "device_id": "A", **more}
    return await server.ok("POST", "login", login)


@ensureDeferred
async def test_of_two_logins_as_one_device_one_is_good(server: TestServer) -> None:
    """As when they come one after the other: the later one ends the earlier one's session."""
    await server.register("alice", device_id="A")
    async with locked_until_met(server, 2, DEVICE, [ALICE]):
        logins = [Deferred.fromCoroutine(_login(server)) for _ in range(2)]
    tokens = [answer["access_token"] for answer in await gatherResults(logins)]
    answers = [await server.call("GET", "account/whoami", token=token) for token in tokens]
    assert sorted(answer.status for answer in answers) == [200, 401]


@ensureDeferred
async def test_a_login_beside_the_end_of_its_device(server: TestServer) -> None:
    """It makes the device anew."""
    await server.register("alice", device_id="A")
    async with locked_until_met(server, 2, STREAM, []):
        ending = Deferred.fromCoroutine(server.database.transact(delete_devices, ALICE, ["A"]))
        while not await server.database.read(lambda txn: txn.value(WAITING)):
            await deferLater(reactor, 0.01)
        login = Deferred.fromCoroutine(_login(server))
    await ending
    token = (await login)["access_token"]
    devices = await server.ok("GET", "devices", token=token)
    assert [one["device_id"] for one in devices["devices"]] == ["A"]


@ensureDeferred
async def test_a_login_beside_a_refresh_of_its_device(server: TestServer) -> None:
    """The earlier session ends with all its tokens, also those that it is just getting."""
    await server.register("alice", device_id="A")
    body = {"refresh_token": (await _login(server, refresh_token=True))["refresh_token"]}
    async with locked_until_met(server, 2, DEVICE, [ALICE]):
        refresh = Deferred.fromCoroutine(server.ok("POST", "refresh", body))
        while not await server.database.read(lambda txn: txn.value(WAITING)):
            await deferLater(reactor, 0.01)
        login = Deferred.fromCoroutine(_login(server))
    token, refreshed = (await login)["access_token"], (await refresh)["access_token"]
    assert (await server.call("GET", "account/whoami", token=token)).status == 200
    assert (await server.call("GET", "account/whoami", token=refreshed)).status == 401


@pytest.mark.parametrize("end", ["logout", "logout/all"])
@ensureDeferred
async def test_a_login_beside_the_end_of_its_session(
    server: TestServer, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    """Neither holds what the other waits for: PostgreSQL would find that out after a second only."""
    caplog.set_level(logging.INFO)
    token = await server.register("alice", device_id="A")
    async with locked_until_met(server, 2, DEVICE, [ALICE]):
        login = Deferred.fromCoroutine(_login(server))
        while not await server.database.read(lambda txn: txn.value(WAITING)):
            await deferLater(reactor, 0.01)
        ending = Deferred.fromCoroutine(server.call("POST", end, {}, token))
    await gatherResults([login, ending])
    assert "Deadlock" not in caplog.text
