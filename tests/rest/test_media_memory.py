"""What is hidden is hidden on every way to it, whatever a process remembers of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.replication.bus import LocalBus
from synapse_lite.storage.stream import read_position
from tests.handlers.test_media_thumbnails import encoded, photo
from tests.rest.conftest import BuildServer
from tests.rest.test_media import NEW, OLD, upload
from tests.server import TestServer

ADMIN = "/_synapse/admin/v1"
SIZE = "?width=32&height=32&method=crop"


async def heard(server: TestServer, reader: TestServer) -> None:
    """Until the reader knows what the server has committed."""
    position = await server.database.read(read_position)
    while reader.core.log.position < position:
        await reader.database.read(read_position)


async def ways(server: TestServer, token: str, media: str) -> set[int]:
    """The statuses of all ways to a picture that is public."""
    asked = [
        (f"{NEW}/download/{media}", token),
        (f"{NEW}/download/{media}/name.png", token),
        (f"{NEW}/thumbnail/{media}{SIZE}", token),
        (f"{OLD}/download/{media}", None),
        (f"{OLD}/thumbnail/{media}{SIZE}", None),
    ]
    seen = {(await server.call("GET", path, token=who)).status for path, who in asked}
    part = await server.call("GET", asked[0][0], token=token, headers={"Range": "bytes=0-1"})
    return {*seen, 200 if part.status == 206 else part.status}


async def two(build_server: BuildServer, directory: Path) -> tuple[TestServer, TestServer, str]:
    """Two processes on one bus, and an administrator."""
    bus = LocalBus()
    options = {"media_store_path": str(directory), "enable_authenticated_media": False}
    first, second = [await build_server(bus=bus, **options) for _ in range(2)]
    token = await first.user("admin", is_admin=True)
    return first, second, token


@ensureDeferred
async def test_every_way_to_what_is_hidden(build_server: BuildServer, tmp_path: Path) -> None:
    """The process that hides knows before it answers, the other one with its message; and so of what is shown again."""
    first, second, token = await two(build_server, tmp_path)
    picture = encoded(photo(), "PNG")
    media = await upload(first, token, picture, content_type="image/png")
    copy = await upload(second, token, picture, content_type="image/png")
    for server in (first, second):
        for one in (media, copy):
            for _ in range(2):
                assert await ways(server, token, one) == {200}
    counted = count_reads(second)
    assert await ways(second, token, media) == {200}
    assert counted == []
    for change, expected in (("quarantine", {404}), ("unquarantine", {200}), ("quarantine", {404})):
        await first.ok("POST", f"{ADMIN}/media/{change}/{media}", {}, token)
        assert await ways(first, token, media) == expected
        assert await ways(first, token, copy) == expected
        await heard(first, second)
        assert await ways(second, token, media) == expected
        assert await ways(second, token, copy) == expected
    await second.ok("POST", f"{ADMIN}/media/protect/{copy.split('/')[1]}", {}, token)
    assert await ways(second, token, copy) == {404}  # it is hidden by its name


@ensureDeferred
async def test_what_is_deleted(build_server: BuildServer, tmp_path: Path) -> None:
    """Gone at once where it was deleted, and elsewhere with the message."""
    first, second, token = await two(build_server, tmp_path)
    media = await upload(first, token, encoded(photo(), "PNG"), content_type="image/png")
    for server in (first, second):
        for _ in range(2):
            assert await ways(server, token, media) == {200}
    await first.ok("DELETE", f"{ADMIN}/media/{media}", None, token)
    assert await ways(first, token, media) == {404}
    await heard(first, second)
    assert await ways(second, token, media) == {404}


def count_reads(server: TestServer) -> list[Callable[..., Any]]:
    """What is read of its database from now on, but for the stream."""
    read, counted = server.database.read, list[Callable[..., Any]]()

    async def counting(function: Callable[..., Any], *arguments: Any) -> Any:
        if function.__module__.startswith("synapse_lite.storage.media"):
            counted.append(function)
        return await read(function, *arguments)

    server.database.read = counting  # type: ignore[method-assign]
    return counted
