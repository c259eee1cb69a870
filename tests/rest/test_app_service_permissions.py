"""Application services keep the devices of their users (specification v1.17, as of MSC4190)."""

from pathlib import Path

from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildServer
from tests.rest.registered_services import TOKEN, registered
from tests.rest.test_app_services import AS_JIM, JIM, with_jim
from tests.server import OPEN


@ensureDeferred
async def test_a_service_makes_devices(build_server: BuildServer, tmp_path: Path) -> None:
    """A name is given with it or later, and it is one to speak by; a user makes none so."""
    server = await with_jim(build_server, tmp_path)
    made = await server.call("PUT", f"devices/D?{AS_JIM}", {"display_name": "bridge"}, TOKEN)
    assert (made.status, made.json()) == (201, {})
    again = await server.call("PUT", f"devices/D?{AS_JIM}", {}, TOKEN)
    assert again.status == 200
    device = await server.ok("GET", f"devices/D?{AS_JIM}", token=TOKEN)
    assert (device["display_name"], device["last_seen_ts"]) == ("bridge", None)
    await server.ok("PUT", f"devices/D?{AS_JIM}", {"display_name": "other"}, TOKEN)
    assert (await server.ok("GET", f"devices/D?{AS_JIM}", token=TOKEN))["display_name"] == "other"
    me = await server.ok("GET", f"account/whoami?{AS_JIM}&device_id=D", token=TOKEN)
    assert me == {"user_id": JIM, "device_id": "D", "is_guest": False}
    long = f"devices/{'x' * 513}?{AS_JIM}"
    assert await server.refusal("PUT", long, {}, TOKEN) == (400, "M_INVALID_PARAM")
    named = {"display_name": "x" * 101}
    assert await server.refusal("PUT", f"devices/E?{AS_JIM}", named, TOKEN) == (400, "M_TOO_LARGE")
    alice = await server.user("alice")
    assert await server.refusal("PUT", "devices/E", {}, alice) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_those_spoken_for_may_do_what_they_may_do(build_server: BuildServer, tmp_path: Path) -> None:
    """A guest is one, an account that is over is over; of other servers nobody is spoken for, whatever the names say."""
    everybody = {"users": [{"regex": "@.*", "exclusive": False}], "aliases": [], "rooms": []}
    server = await build_server(**OPEN, **registered(tmp_path, namespaces=everybody), allow_guest_access=True)
    guest = (await server.ok("POST", "register?kind=guest", {}))["user_id"]
    assert await server.ok("GET", f"account/whoami?user_id={guest}", token=TOKEN) == {
        "user_id": guest,
        "is_guest": True,
    }
    refused = (403, "M_GUEST_ACCESS_FORBIDDEN")
    assert await server.refusal("POST", f"createRoom?user_id={guest}", {}, TOKEN) == refused
    await server.user("alice")
    alice = "account/whoami?user_id=@alice:hs.test"
    await server.ok("GET", alice, token=TOKEN)
    soon = server.clock.now_ms() + 1000
    await server.database.transact(lambda txn: txn.execute("UPDATE users SET expires_ts = %s", (soon,)))
    server.clock.advance(61)
    assert await server.refusal("GET", alice, token=TOKEN) == (403, "ORG_MATRIX_EXPIRED_ACCOUNT")
    for stranger in ("@alice:other.test", "@irc_jim:other.test"):
        path = f"account/whoami?user_id={stranger}"
        assert await server.refusal("GET", path, token=TOKEN) == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_a_service_needs_no_proof(build_server: BuildServer, tmp_path: Path) -> None:
    """To delete devices, to replace cross-signing keys, to close an account: its users have no passwords."""
    server = await with_jim(build_server, tmp_path)
    for name in "DEF":
        await server.call("PUT", f"devices/{name}?{AS_JIM}", {}, TOKEN)
    await server.ok("GET", f"account/whoami?{AS_JIM}&device_id=D", token=TOKEN)
    await server.ok("DELETE", f"devices/D?{AS_JIM}", {}, TOKEN)
    await server.ok("POST", f"delete_devices?{AS_JIM}", {"devices": ["E"]}, TOKEN)
    devices = (await server.ok("GET", f"devices?{AS_JIM}", token=TOKEN))["devices"]
    assert [device["device_id"] for device in devices] == ["F"]
    gone = await server.call("GET", f"account/whoami?{AS_JIM}&device_id=D", token=TOKEN)
    assert gone.status == 400
    for letter in "AB":
        key = f"{letter * 42}A"
        master = {"user_id": JIM, "usage": ["master"], "keys": {f"ed25519:{key}": key}}
        await server.ok("POST", f"keys/device_signing/upload?{AS_JIM}", {"master_key": master}, TOKEN)
    await server.ok("POST", f"account/deactivate?{AS_JIM}", {}, TOKEN)
    assert await server.refusal("GET", f"devices?{AS_JIM}", token=TOKEN) == (403, "M_USER_DEACTIVATED")
