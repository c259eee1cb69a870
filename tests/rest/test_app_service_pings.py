"""Application services ask whether they can be reached."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.handlers.app_services.calls import TIMEOUT_SECONDS
from synapse_lite.handlers.app_services.pings import SHOWN
from tests.rest.conftest import BuildServer
from tests.rest.registered_services import TOKEN, Service, registered, registration

PATH = "/_matrix/client/v1/appservice/irc/ping"
ASKED = "/_matrix/app/v1/ping"
FORBIDDEN = (403, "M_FORBIDDEN")


@pytest_twisted.async_yield_fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    yield service
    await service.stop()


@ensureDeferred
async def test_a_service_that_answers(build_server: BuildServer, tmp_path: Path, service: Service) -> None:
    """It is told its own word for the ping, and how long it took; nobody else may ask."""
    files = [registration(tmp_path, url=service.url), registration(tmp_path, "xmpp")]
    server = await build_server(app_service_config_files=files)
    service.says[ASKED] = (200, {})
    for path, body in (
        (PATH, {"transaction_id": "t"}),
        (PATH, None),
        (PATH.replace("v1", "unstable/fi.mau.msc2659"), {}),
    ):
        answer = await server.ok("POST", path, body, TOKEN)
        assert answer == {"duration_ms": 0}
    assert [orjson.loads(body) for body in service.bodies] == [{"transaction_id": "t"}, {}, {}]
    assert "\nAuthorization: Bearer hs_irc" in service.heads[0]
    assert await server.refusal("POST", PATH, {}, "as_xmpp") == FORBIDDEN
    assert await server.refusal("POST", PATH, {}, await server.user("alice")) == FORBIDDEN
    assert await server.refusal("POST", PATH, {"transaction_id": 5}, TOKEN) == (400, "M_BAD_JSON")
    features = (await server.ok("GET", "/_matrix/client/versions"))["unstable_features"]
    assert features["fi.mau.msc2659.stable"] is True


@ensureDeferred
async def test_a_service_that_refuses(build_server: BuildServer, tmp_path: Path, service: Service) -> None:
    """It reads what it has said, as far as that is shown."""
    server = await build_server(**registered(tmp_path, url=service.url))
    service.says[ASKED] = (418, b"x" * (SHOWN + 1))
    answer = await server.call("POST", PATH, {}, TOKEN)
    said = answer.json()
    assert (answer.status, said["errcode"], said["status"], said["body"]) == (
        502,
        "M_BAD_STATUS",
        418,
        "x" * SHOWN,
    )


@ensureDeferred
async def test_a_service_that_cannot_be_reached(
    build_server: BuildServer, tmp_path: Path, service: Service
) -> None:
    """It has no address, nobody is there, or it says nothing in time."""
    away = Service()
    await away.stop()
    files = [
        registration(tmp_path, url=service.url),
        registration(tmp_path, "away", url=away.url),
        registration(tmp_path, "mute"),
    ]
    server = await build_server(app_service_config_files=files)
    for name, refusal in (("mute", (400, "M_URL_NOT_SET")), ("away", (502, "M_CONNECTION_FAILED"))):
        path = PATH.replace("irc", name)
        assert await server.refusal("POST", path, {}, f"as_{name}") == refusal
    service.says[ASKED] = None
    asking = Deferred.fromCoroutine(server.refusal("POST", PATH, {}, TOKEN))
    await service.was_asked()
    server.clock.advance(TIMEOUT_SECONDS)
    assert await asking == (504, "M_CONNECTION_TIMEOUT")
