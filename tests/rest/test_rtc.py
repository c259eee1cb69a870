"""What calls of many go through, over HTTP."""

from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildServer
from tests.server import OPEN

PATH = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"


@ensureDeferred
async def test_transports(build_server: BuildServer) -> None:
    """What the operator wrote, as it is; nothing when nothing was written; to users only."""
    transports = [{"type": "livekit", "livekit_service_url": "https://matrix-rtc.example.com/livekit/jwt"}]
    server = await build_server(**OPEN, matrix_rtc={"transports": transports})
    alice = await server.user("alice")
    assert await server.ok("GET", PATH, token=alice) == {"rtc_transports": transports}
    assert await server.refusal("GET", PATH) == (401, "M_MISSING_TOKEN")
    plain = await build_server(**OPEN)
    assert await plain.ok("GET", PATH, token=await plain.user("bob")) == {"rtc_transports": []}
