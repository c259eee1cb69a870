"""A process that leaves media to others (`enable_media_repo: false`)."""

import pytest
from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildServer
from tests.server import OPEN

PATHS = (
    ("POST", "/_matrix/media/v3/upload"),
    ("POST", "/_matrix/media/v1/create"),
    ("GET", "/_matrix/media/v3/config"),
    ("GET", "/_matrix/client/v1/media/config"),
    ("GET", "/_matrix/client/v1/media/download/hs.test/abc"),
    ("GET", "/_matrix/client/v1/media/thumbnail/hs.test/abc?width=1&height=1"),
    ("GET", "/_matrix/federation/v1/media/download/abc"),
)


@ensureDeferred
async def test_it_serves_none(build_server: BuildServer) -> None:
    """As if there were no such requests, so that a proxy that sends them here is found out; all else goes on."""
    server = await build_server(**OPEN, enable_media_repo=False)
    alice = await server.user("alice")
    for method, path in PATHS:
        assert await server.refusal(method, path, b"", alice) == (404, "M_UNRECOGNIZED"), path
    await server.ok("PUT", "profile/@alice:hs.test/avatar_url", {"avatar_url": "mxc://hs.test/abc"}, alice)


@ensureDeferred
@pytest.mark.parametrize("app", ["synapse.app.media_repository", "synapse.app.generic_worker"])
async def test_a_media_worker(build_server: BuildServer, app: str) -> None:
    """What all share says false: one with the old application serves media, a generic one does not."""
    server = await build_server(**OPEN, enable_media_repo=False, worker_app=app, worker_name="media1")
    answer = await server.call("GET", "/_matrix/client/v1/media/config", token=await server.user("alice"))
    assert answer.status == (200 if app.endswith("media_repository") else 404)
