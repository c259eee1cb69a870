"""The admin API for devices, with the keys and codes that its clients know."""

from pytest_twisted import ensureDeferred

from tests.server import TestServer

PATH = "/_synapse/admin/v2/users/@name:hs.test"


@ensureDeferred
async def test_devices_are_listed_made_renamed_and_deleted(server: TestServer) -> None:
    """Deleting one ends its session; one that is unknown is none to delete."""
    token = await server.register("name", device_id="A", initial_device_display_name="Phone")
    admin = await server.user("admin", is_admin=True)
    await server.ok("GET", "devices", token=token)
    await server.core.accounts.last_seen.write()
    listed = await server.ok("GET", f"{PATH}/devices", token=admin)
    (device,) = listed["devices"]
    assert listed["total"] == 1
    assert set(device) == {
        "device_id",
        "display_name",
        "last_seen_ip",
        "last_seen_ts",
        "last_seen_user_agent",
        "user_id",
    }
    assert (device["device_id"], device["display_name"]) == ("A", "Phone")
    assert device["last_seen_ts"] is not None
    for _ in range(2):
        created = await server.call("POST", f"{PATH}/devices", {"device_id": "B"}, admin)
        assert (created.status, created.json()) == (201, {})
    assert await server.ok("PUT", f"{PATH}/devices/B", {"display_name": "Bot"}, admin) == {}
    assert await server.ok("PUT", f"{PATH}/devices/B", None, admin) == {}
    assert (await server.ok("GET", f"{PATH}/devices/B", token=admin))["display_name"] == "Bot"
    assert await server.ok("DELETE", f"{PATH}/devices/A", token=admin) == {}
    assert (await server.refusal("GET", "devices", token=token)) == (401, "M_UNKNOWN_TOKEN")
    body = {"devices": ["A", "B"]}
    assert await server.ok("POST", f"{PATH}/delete_devices", body, admin) == {}
    assert await server.ok("GET", f"{PATH}/devices", token=admin) == {"devices": [], "total": 0}


@ensureDeferred
async def test_what_administrators_may_not(server: TestServer) -> None:
    """Unknown users and devices are 404, users of other servers and bad bodies 400."""
    await server.register("name", device_id="A")
    admin = await server.user("admin", is_admin=True)
    for method, path, body in (
        ("GET", "devices", None),
        ("POST", "devices", {"device_id": "A"}),
        ("GET", "devices/A", None),
        ("PUT", "devices/A", {}),
        ("DELETE", "devices/A", None),
        ("POST", "delete_devices", {"devices": []}),
    ):
        unknown = PATH.replace("name", "nobody")
        assert await server.refusal(method, f"{unknown}/{path}", body, admin) == (404, "M_NOT_FOUND")
        remote = PATH.replace("hs.test", "elsewhere.test")
        assert await server.refusal(method, f"{remote}/{path}", body, admin) == (400, "M_UNKNOWN")
        no_id = f"/_synapse/admin/v2/users/name/{path}"
        assert await server.refusal(method, no_id, body, admin) == (400, "M_INVALID_PARAM")
    refusals = [
        ("GET", "devices/B", None, (404, "M_NOT_FOUND")),
        ("PUT", "devices/B", {}, (404, "M_NOT_FOUND")),
        ("PUT", "devices/A", {"display_name": "x" * 101}, (400, "M_TOO_LARGE")),
        ("POST", "devices", {}, (400, "M_MISSING_PARAM")),
        ("POST", "devices", {"device_id": 1}, (400, "M_BAD_JSON")),
        ("POST", "devices", {"device_id": ""}, (400, "M_INVALID_PARAM")),
        ("POST", "delete_devices", {}, (400, "M_MISSING_PARAM")),
    ]
    for method, path, body, refusal in refusals:
        assert await server.refusal(method, f"{PATH}/{path}", body, admin) == refusal
