"""Devices, refresh tokens and login tokens over HTTP."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildServer
from tests.server import OPEN, PASSWORD, TestServer


async def _log_in(server: TestServer, device_id: str, **more: Any) -> Any:
    identifier = {"type": "m.id.user", "user": "name"}
    body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    return await server.ok("POST", "login", {**body, "device_id": device_id, **more})


def _auth(**more: Any) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": "name"}
    return {"type": "m.login.password", "identifier": identifier, "password": PASSWORD, **more}


@ensureDeferred
async def test_devices_are_listed_and_renamed(server: TestServer) -> None:
    """By their owner, with the keys of the specification; those of others are unknown."""
    token = await server.register("name", device_id="A", initial_device_display_name="Phone")
    await _log_in(server, "B")
    other = await server.register("other")
    await server.core.accounts.last_seen.write()
    first, second = (await server.ok("GET", "devices", token=token))["devices"]
    assert set(first) == {"device_id", "display_name", "last_seen_ip", "last_seen_ts", "user_id"}
    assert (first["device_id"], first["display_name"], first["user_id"]) == ("A", "Phone", "@name:hs.test")
    assert second["device_id"] == "B"
    assert await server.ok("PUT", "devices/B", {"display_name": "Laptop"}, token) == {}
    assert await server.ok("PUT", "devices/B", {}, token) == {}
    assert (await server.ok("GET", "devices/B", token=token))["display_name"] == "Laptop"
    for method, body in (("GET", None), ("PUT", {"display_name": "x"}), ("PUT", {})):
        assert await server.refusal(method, "devices/B", body, other) == (404, "M_NOT_FOUND")
    assert await server.refusal("PUT", "devices/B", {"display_name": "x" * 101}, token) == (
        400,
        "M_TOO_LARGE",
    )
    assert await server.refusal("PUT", "devices/B", {"display_name": "a\0"}, token) == (
        400,
        "M_INVALID_PARAM",
    )


@ensureDeferred
async def test_deleting_devices_needs_the_password(server: TestServer) -> None:
    """The proof is for these devices only; then their sessions are over and the others stay."""
    token = await server.register("name", device_id="A")
    sessions = {name: (await _log_in(server, name))["access_token"] for name in ("B", "C", "D")}
    asked = await server.call("DELETE", "devices/B", None, token)
    assert asked.status == 401
    assert asked.json()["flows"] == [{"stages": ["m.login.password"]}]
    session = asked.json()["session"]
    wrong = await server.call(
        "DELETE", "devices/B", {"auth": _auth(session=session, password="wrong")}, token
    )
    assert (wrong.status, wrong.json()["errcode"]) == (401, "M_FORBIDDEN")
    moved = {"auth": _auth(session=session)}
    assert (await server.refusal("DELETE", "devices/C", moved, token))[0] == 403
    assert await server.ok("DELETE", "devices/B", moved, token) == {}
    assert (await server.refusal("GET", "devices", token=sessions["B"])) == (401, "M_UNKNOWN_TOKEN")
    body = {"devices": ["C", "D", "unknown"], "auth": _auth()}
    assert await server.ok("POST", "delete_devices", body, token) == {}
    left = (await server.ok("GET", "devices", token=token))["devices"]
    assert [device["device_id"] for device in left] == ["A"]
    for bad in ({"devices": "A"}, {"devices": [1]}, {}):
        assert (await server.refusal("POST", "delete_devices", bad, token))[0] == 400


@ensureDeferred
async def test_a_proof_is_remembered(build_server: BuildServer) -> None:
    """For a while, with the token that brought it; a log-in counts, a refresh does not. Passwords are asked for always."""
    server = await build_server(**OPEN, ui_auth={"session_timeout": "1h"})
    token = await server.register("name", device_id="A")
    other = (await _log_in(server, "B"))["access_token"]
    refreshed = (await _log_in(server, "C", refresh_token=True))["access_token"]
    assert await server.ok("DELETE", "devices/unknown", None, token) == {}
    assert (await server.call("DELETE", "devices/B", None, refreshed)).status == 401
    await server.database.transact(
        lambda txn: txn.execute("UPDATE access_tokens SET created_ts = created_ts - 3600001")
    )
    assert (await server.call("DELETE", "devices/unknown", None, token)).status == 401
    assert await server.ok("DELETE", "devices/unknown", {"auth": _auth()}, token) == {}
    assert await server.ok("POST", "delete_devices", {"devices": ["C"]}, token) == {}
    assert (await server.call("DELETE", "devices/A", None, other)).status == 401
    assert (await server.call("POST", "account/password", {"new_password": "other"}, token)).status == 401


@ensureDeferred
async def test_sessions_are_refreshed(server: TestServer) -> None:
    """A client that asks for a refresh token gets one, and new tokens for it; others do not."""
    await server.register("name")
    plain = await _log_in(server, "A")
    assert "refresh_token" not in plain
    assert "expires_in_ms" not in plain
    first = await _log_in(server, "B", refresh_token=True)
    assert first["expires_in_ms"] == 300_000
    second = await server.ok("POST", "refresh", {"refresh_token": first["refresh_token"]})
    assert set(second) == {"access_token", "refresh_token", "expires_in_ms"}
    me = await server.ok("GET", "account/whoami", token=second["access_token"])
    assert me["device_id"] == "B"
    assert await server.refusal("POST", "refresh", {"refresh_token": first["refresh_token"]}) == (
        401,
        "M_UNKNOWN_TOKEN",
    )
    assert await server.refusal("POST", "refresh", {}) == (400, "M_MISSING_PARAM")


@ensureDeferred
async def test_a_session_lets_its_user_log_in_elsewhere(build_server: BuildServer) -> None:
    """With the password as proof, by a token that is good once; only where the operator allows it."""
    server = await build_server(**OPEN, login_via_existing_session={"enabled": True})
    token = await server.register("name")
    path = "/_matrix/client/v1/login/get_token"
    flows = (await server.ok("GET", "login"))["flows"]
    assert {"type": "m.login.token", "get_login_token": True} in flows
    assert (await server.ok("GET", "capabilities", token=token))["capabilities"]["m.get_login_token"] == {
        "enabled": True
    }
    assert (await server.call("POST", path, {}, token)).status == 401
    issued = await server.ok("POST", path, {"auth": _auth()}, token)
    assert set(issued) == {"login_token", "expires_in_ms"}
    body = {"type": "m.login.token", "token": issued["login_token"], "device_id": "NEW"}
    assert (await server.ok("POST", "login", body))["device_id"] == "NEW"
    assert await server.refusal("POST", "login", body) == (403, "M_FORBIDDEN")
    closed = await build_server(**OPEN)
    assert await closed.refusal("POST", path, {}, token) == (404, "M_UNRECOGNIZED")
    assert await closed.refusal("POST", "login", body) == (400, "M_UNKNOWN")
