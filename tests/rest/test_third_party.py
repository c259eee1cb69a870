"""Networks behind bridges over HTTP."""

from pytest_twisted import ensureDeferred

from tests.server import TestServer


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
