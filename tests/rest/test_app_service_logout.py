"""Application services log their users out."""

from pathlib import Path

from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildServer
from tests.rest.registered_services import TOKEN
from tests.rest.test_app_services import AS_JIM, JIM, login, with_jim


@ensureDeferred
async def test_a_service_logs_out(build_server: BuildServer, tmp_path: Path) -> None:
    """The device by which it speaks, with its session, or all of them; with none of them there is nothing to end."""
    server = await with_jim(build_server, tmp_path)

    async def devices() -> list[str]:
        found = await server.ok("GET", f"devices?{AS_JIM}", token=TOKEN)
        return sorted(device["device_id"] for device in found["devices"])

    session = await server.ok("POST", "login", {**login(JIM), "device_id": "D"}, TOKEN)
    for name in "EF":
        await server.call("PUT", f"devices/{name}?{AS_JIM}", {}, TOKEN)
    refused = await server.refusal("POST", f"logout?{AS_JIM}", {}, TOKEN)
    assert refused == (401, "M_UNKNOWN_TOKEN")
    assert await devices() == ["D", "E", "F"]
    for name, left in (("E", ["D", "F"]), ("D", ["F"])):
        await server.ok("POST", f"logout?{AS_JIM}&device_id={name}", {}, TOKEN)
        assert await devices() == left
    gone = await server.refusal("GET", "account/whoami", token=session["access_token"])
    assert gone == (401, "M_UNKNOWN_TOKEN")
    again = await server.refusal("POST", f"logout?{AS_JIM}&device_id=D", {}, TOKEN)
    assert again == (400, "M_UNKNOWN_DEVICE")
    for open_session in (False, True):
        if open_session:
            await server.ok("POST", "login", {**login(JIM), "device_id": "G"}, TOKEN)
            await server.call("PUT", f"devices/H?{AS_JIM}", {}, TOKEN)
        await server.ok("POST", f"logout/all?{AS_JIM}", {}, TOKEN)
        assert await devices() == []
