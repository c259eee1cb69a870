"""Experimental features, on and off for single users."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.server import TestServer, path_part

SLIDING = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
VERSIONS = "/_matrix/client/versions"
ENABLED = "org.matrix.msc3881.enabled"
FEATURES = f"/_synapse/admin/v1/experimental_features/{path_part(f'@alice:{SERVER}')}"


async def told(server: TestServer, name: str, token: str | None) -> Any:
    """What the versions say of a feature."""
    return (await server.ok("GET", VERSIONS, None, token))["unstable_features"][name]


@ensureDeferred
async def test_what_a_user_has(server: TestServer) -> None:
    """All that there are, as they are for everybody until they are set; others stay as they are."""
    admin = await server.user("admin", is_admin=True)
    await server.user("alice")
    most = {"msc3881": False, "msc3575": True, "msc4222": False}
    assert await server.ok("GET", FEATURES, None, admin) == {"features": most}
    assert await server.ok("PUT", FEATURES, {"features": {"msc3881": True}}, admin) == {}
    assert await server.ok("PUT", FEATURES, {"features": {"msc3575": False}}, admin) == {}
    assert (await server.ok("GET", FEATURES, None, admin))["features"] == {
        "msc3881": True,
        "msc3575": False,
        "msc4222": False,
    }


@ensureDeferred
async def test_sliding_sync_is_turned_off_for_one(server: TestServer) -> None:
    """At once, also in open sessions; others have it."""
    admin, alice = await server.user("admin", is_admin=True), await server.user("alice")
    await server.ok("POST", SLIDING, {}, alice)
    await server.ok("PUT", FEATURES, {"features": {"msc3575": False}}, admin)
    assert await server.refusal("POST", SLIDING, {}, alice) == (404, "M_UNRECOGNIZED")
    assert await told(server, "org.matrix.simplified_msc3575", alice) is False
    await server.ok("POST", SLIDING, {}, admin)
    assert await told(server, "org.matrix.simplified_msc3575", None) is True
    await server.ok("PUT", FEATURES, {"features": {"msc3575": True}}, admin)
    await server.ok("POST", SLIDING, {}, alice)


@ensureDeferred
async def test_pushers_can_be_turned_off_by_other_devices(server: TestServer) -> None:
    """Who has the feature is shown the device of each pusher, and whether it is on; without it all are on."""
    admin, alice = await server.user("admin", is_admin=True), await server.user("alice")
    pusher = {
        "app_id": "app",
        "pushkey": "key",
        "kind": "http",
        "lang": "en",
        "app_display_name": "App",
        "device_display_name": "Phone",
        "data": {"url": "https://push.test/_matrix/push/v1/notify"},
        ENABLED: False,
    }

    async def shown() -> Any:
        (one,) = (await server.ok("GET", "pushers", None, alice))["pushers"]
        return one

    await server.ok("POST", "pushers/set", pusher, alice)
    assert ENABLED not in await shown()
    await server.ok("PUT", FEATURES, {"features": {"msc3881": True}}, admin)
    assert await told(server, "org.matrix.msc3881", alice) is True
    one = await shown()
    assert (one[ENABLED], isinstance(one["org.matrix.msc3881.device_id"], str)) == (True, True)
    await server.ok("POST", "pushers/set", pusher, alice)
    assert (await shown())[ENABLED] is False
    path = f"/_synapse/admin/v1/users/{path_part(f'@alice:{SERVER}')}/pushers"
    (seen,) = (await server.ok("GET", path, None, admin))["pushers"]
    assert seen["enabled"] is False


@ensureDeferred
async def test_what_is_refused(server: TestServer) -> None:
    """Features that there are not, values that are none, users of other servers and unknown ones; nothing is set."""
    admin = await server.user("admin", is_admin=True)
    await server.user("alice")
    for body, errcode in (
        ({}, "M_MISSING_PARAM"),
        ({"features": {"msc3881": True, "msc1": True}}, "M_UNKNOWN"),
        ({"features": {"msc3881": "yes"}}, "M_BAD_JSON"),
        ({"features": []}, "M_BAD_JSON"),
        ({"features": {}}, "M_INVALID_PARAM"),
    ):
        assert await server.refusal("PUT", FEATURES, body, admin) == (400, errcode), body
    assert not (await server.ok("GET", FEATURES, None, admin))["features"]["msc3881"]
    other = FEATURES.replace("alice", "nobody")
    assert await server.refusal("PUT", other, {"features": {"msc3881": True}}, admin) == (404, "M_NOT_FOUND")
    far = "/_synapse/admin/v1/experimental_features/@alice:other.test"
    for method, body in (("GET", None), ("PUT", {"features": {"msc3881": True}})):
        assert await server.refusal(method, far, body, admin) == (400, "M_UNKNOWN")
