"""Networks behind bridges over HTTP."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_twisted
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.app_services.networks import FAILURE_SECONDS, REMEMBERED_SECONDS
from tests.rest.conftest import BuildServer
from tests.rest.registered_services import TOKEN, Service, registered, registration
from tests.server import TestServer

ASKED = "/_matrix/app/v1/thirdparty"
PROTOCOL: dict[str, Any] = {
    "user_fields": ["nick"],
    "location_fields": ["channel"],
    "icon": "mxc://hs.test/irc",
    "field_types": {
        "nick": {"regexp": ".+", "placeholder": "jim"},
        "channel": {"regexp": "#.+", "placeholder": "#room"},
    },
}
INSTANCE = {"desc": "One", "fields": {"network": "one"}, "network_id": "one"}
USER = {"userid": "@irc_jim:hs.test", "protocol": "irc", "fields": {"nick": "jim"}}
PLACE = {"alias": "#irc_room:hs.test", "protocol": "irc", "fields": {"channel": "#room"}}


@pytest_twisted.async_yield_fixture
async def services() -> AsyncIterator[list[Service]]:
    services = [Service(), Service()]
    yield services
    for one in services:
        await one.stop()


@ensureDeferred
async def test_there_are_no_networks(server: TestServer) -> None:
    """Lists are empty, a protocol that is asked for by name is unknown."""
    token = await server.register("alice")
    assert await server.ok("GET", "thirdparty/protocols", token=token) == {}
    assert await server.ok("GET", "thirdparty/location?alias=%23a:b", token=token) == []
    assert await server.ok("GET", "thirdparty/user?userid=@a:b", token=token) == []
    for what in ("protocol", "location", "user"):
        assert await server.refusal("GET", f"thirdparty/{what}/irc", token=token) == (404, "M_NOT_FOUND")
    assert await server.refusal("GET", "thirdparty/protocols") == (401, "M_MISSING_TOKEN")


@ensureDeferred
async def test_protocols(build_server: BuildServer, tmp_path: Path, services: list[Service]) -> None:
    """The instances of all services are shown; what does not have the shape is left out, and asked for again before long."""
    files = [
        registration(tmp_path, "irc", url=services[0].url, protocols=["irc", "other"]),
        registration(tmp_path, "second", url=services[1].url, protocols=["irc"]),
    ]
    server = await build_server(app_service_config_files=files)
    token = await server.user("alice")
    broken = {"desc": "no network"}
    services[0].says[f"{ASKED}/protocol/irc"] = (200, {**PROTOCOL, "instances": [INSTANCE, broken], "x": 1})
    services[0].says[f"{ASKED}/protocol/other"] = (200, {**PROTOCOL, "user_fields": "nick"})
    services[1].says[f"{ASKED}/protocol/irc"] = (200, PROTOCOL | {"instances": [INSTANCE]})
    instances = [{**INSTANCE, "instance_id": f"{name}|one"} for name in ("irc", "second")]
    shown = {**PROTOCOL, "instances": instances}
    for _ in range(2):
        assert await server.ok("GET", "thirdparty/protocols", token=token) == {"irc": shown}
    assert await server.ok("GET", "thirdparty/protocol/irc", token=token) == shown
    assert await server.refusal("GET", "thirdparty/protocol/other", token=token) == (404, "M_NOT_FOUND")
    assert (len(services[0].asked), len(services[1].asked)) == (2, 1)
    server.clock.advance(FAILURE_SECONDS)
    services[0].says[f"{ASKED}/protocol/other"] = (200, PROTOCOL)
    other = await server.ok("GET", "thirdparty/protocol/other", token=token)
    assert other == {**PROTOCOL, "instances": []}
    server.clock.advance(REMEMBERED_SECONDS)
    services[0].says.clear()
    one = await server.ok("GET", "thirdparty/protocol/irc", token=token)
    assert one == {**PROTOCOL, "instances": instances[1:]}


@ensureDeferred
async def test_users_and_locations(
    build_server: BuildServer, tmp_path: Path, services: list[Service]
) -> None:
    """The fields are the service's, the token is not; what services say comes together, if it has the shape."""
    files = [
        registration(tmp_path, "irc", url=services[0].url, protocols=["irc"]),
        registration(tmp_path, "second", url=services[1].url, protocols=["irc"]),
        registration(tmp_path, "third", url=services[1].url),
    ]
    server = await build_server(app_service_config_files=files)
    token = await server.user("alice")
    services[0].says[f"{ASKED}/user/irc"] = (200, [USER, {"userid": 5}, 6])
    services[1].says[f"{ASKED}/user/irc"] = (200, [{**USER, "userid": "@irc_ann:hs.test", "more": 1}])
    deep: Any = {}
    for _ in range(300):  # can be read, and not be written again
        deep = {"x": deep}
    services[0].says[f"{ASKED}/location/irc"] = (200, json.dumps([{**PLACE, "fields": deep}]).encode())
    assert await server.ok("GET", "thirdparty/location/irc", token=token) == []
    services[0].asked.clear()
    services[1].asked.clear()
    found = await server.ok("GET", f"thirdparty/user/irc?nick=a%26b&nick=c&access_token={token}")
    assert found == [USER, {**USER, "userid": "@irc_ann:hs.test"}]
    assert services[0].asked == services[1].asked == [f"GET {ASKED}/user/irc?nick=a%26b&nick=c"]
    services[0].says[f"{ASKED}/location"] = (200, [PLACE])
    services[1].says[f"{ASKED}/location"] = (200, {"no": "list"})
    assert await server.ok("GET", "thirdparty/location?alias=%23irc_room:hs.test", token=token) == [PLACE]
    assert services[0].asked[1:] == [f"GET {ASKED}/location?alias=%23irc_room%3Ahs.test"]
    assert len(services[1].asked) == 2
    assert await server.ok("GET", "thirdparty/location/irc?channel=x", token=token) == []
    assert await server.refusal("GET", "thirdparty/user/xmpp", token=token) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_a_service_asks(build_server: BuildServer, tmp_path: Path, services: list[Service]) -> None:
    """For whom it speaks is no field."""
    server = await build_server(**registered(tmp_path, url=services[0].url, protocols=["irc"]))
    path = "thirdparty/user/irc?nick=a&user_id=@irc_bot:hs.test"
    assert await server.ok("GET", path, token=TOKEN) == []
    assert services[0].asked == [f"GET {ASKED}/user/irc?nick=a"]
