"""Limits of single users: set by administrators, and what they do."""

from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.server import TestServer

MESSAGE = {"msgtype": "m.text", "body": "x"}
TIGHT = {"rc_message": {"per_second": 0.001, "burst_count": 2}}


def path(name: str) -> str:
    return f"/_synapse/admin/v1/users/@{name}:{SERVER}/override_ratelimit"


async def sent(server: TestServer, room: str, token: str, count: int, *, prefix: str) -> list[int]:
    """The statuses of so many messages."""
    return [
        (await server.call("PUT", f"{room}/send/m.room.message/{prefix}{number}", MESSAGE, token)).status
        for number in range(count)
    ]


@ensureDeferred
async def test_an_override_holds_at_once(build_server: BuildServer) -> None:
    """None at all for zero, also for who has used up the usual limit; then another limit; then the usual one."""
    server = await build_server(**TIGHT)
    admin, token = await server.user("admin", is_admin=True), await server.user("bot")
    room = await server.room(token)
    assert await sent(server, room, token, 3, prefix="a") == [200, 200, 429]
    assert await server.ok("GET", path("bot"), token=admin) == {}
    unlimited = {"messages_per_second": 0, "burst_count": 0}
    assert await server.ok("POST", path("bot"), None, admin) == unlimited
    assert await server.ok("GET", path("bot"), token=admin) == unlimited
    assert await sent(server, room, token, 20, prefix="b") == [200] * 20
    assert await server.ok("DELETE", path("bot"), token=admin) == {}
    assert await server.ok("GET", path("bot"), token=admin) == {}
    assert await sent(server, room, token, 1, prefix="c") == [429]
    other = await server.user("other")
    await server.ok("POST", f"{room}/join", {}, other)
    three = {"messages_per_second": 1, "burst_count": 3}
    assert await server.ok("POST", path("other"), three, admin) == three
    assert await sent(server, room, other, 4, prefix="d") == [200, 200, 200, 429]


@ensureDeferred
async def test_what_cannot_be_set(build_server: BuildServer) -> None:
    """Wrong numbers are 400, users of other servers too, unknown ones 404."""
    server = await build_server()
    admin = await server.user("admin", is_admin=True)
    for value in (-1, "1", 1.5, True, None, 2**31):
        for name in ("messages_per_second", "burst_count"):
            assert await server.refusal("POST", path("admin"), {name: value}, admin) == (
                400,
                "M_INVALID_PARAM",
            )
    for method in ("GET", "POST", "DELETE"):
        assert await server.refusal(method, path("nobody"), None, admin) == (404, "M_NOT_FOUND")
        remote = path("x").replace(SERVER, "elsewhere.test")
        assert await server.refusal(method, remote, None, admin) == (400, "M_UNKNOWN")
