"""matrix-nio's media over two processes, of which one is killed: what was hidden is never shown again, the rest stays."""

import asyncio
import secrets
import signal
from collections.abc import Sequence
from io import BytesIO

import nio
import pytest

from tests.processes.conftest import BuildSite
from tests.processes.harness import START, wait_until
from tests.processes.nio_clients import ask, clients_of, through_a_kill
from tests.processes.site import Site

PROCESSES = ("main", "second")
ROUNDS = 3


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site(*PROCESSES)
    site.start(*PROCESSES)
    return site


async def upload(client: nio.AsyncClient, data: bytes) -> str:
    sent, _ = await client.upload(lambda *_: BytesIO(data), "text/plain", "a.txt", filesize=len(data))
    assert isinstance(sent, nio.UploadResponse), sent
    return sent.content_uri


async def download(client: nio.AsyncClient, uri: str) -> bytes | None:
    """None: it is not shown."""
    got = await client.download(uri)
    if isinstance(got, nio.DownloadError):
        assert got.status_code == "M_NOT_FOUND", got
        return None
    return bytes(got.body)


async def hide(client: nio.AsyncClient, uri: str) -> None:
    path = f"/_synapse/admin/v1/media/quarantine/{uri.removeprefix('mxc://')}"
    assert await ask(client, "POST", path, {}) == {}


async def remember(clients: Sequence[nio.AsyncClient], uris: Sequence[str]) -> None:
    for client in clients:
        for uri in (*uris, *uris):
            assert await download(client, uri) is not None


async def until_gone(client: nio.AsyncClient, uri: str) -> None:
    async with asyncio.timeout(START):
        while await download(client, uri) is not None:
            pass


def test_hidden_by_a_process_that_dies(site: Site) -> None:
    """As soon as it is committed, and perhaps told to nobody: the other process learns of it, and of all with the same bytes."""
    admin, alice = site.user("first_admin", admin=True), site.user("first")

    async def talk() -> None:
        async with (
            clients_of(site.url("main"), alice) as (reader,),
            clients_of(site.url("second"), alice, admin) as (writer, moderator),
        ):
            for _ in range(ROUNDS):
                await hide_and_die(reader, writer, moderator)

    async def hide_and_die(
        reader: nio.AsyncClient, writer: nio.AsyncClient, moderator: nio.AsyncClient
    ) -> None:
        bad, good = secrets.token_bytes(1000), secrets.token_bytes(1000)
        hidden = [await upload(client, bad) for client in (writer, reader)]
        kept = [await upload(client, good) for client in (writer, reader)]
        await remember((reader, writer), [*hidden, *kept])
        hiding = asyncio.ensure_future(hide(moderator, hidden[0]))
        name = hidden[0].rpartition("/")[2]
        is_hidden = "SELECT 1 FROM media_quarantine WHERE media_id = %s"
        await asyncio.to_thread(wait_until, lambda: site.rows(is_hidden, name), "that it is hidden")
        site.signal("second", signal.SIGKILL)
        await asyncio.to_thread(site.processes["second"].running.wait)
        for uri in hidden:
            await until_gone(reader, uri)
        await asyncio.to_thread(site.start, "second")
        await hiding
        hidden += [await upload(client, bad) for client in (writer, reader)]
        for client in (reader, writer):
            assert [await download(client, uri) for uri in hidden] == [None] * 4
            assert [await download(client, uri) for uri in kept] == [good] * 2

    asyncio.run(talk())


def test_a_process_that_dies_while_it_hides_and_stores(site: Site) -> None:
    """Both are done when they are asked for again: what is hidden is so under each name, and what is not is whole."""
    admin, alice = site.user("second_admin", admin=True), site.user("second")
    bad, good = secrets.token_bytes(1000), secrets.token_bytes(1000)

    async def talk() -> None:
        async with (
            clients_of(site.url("main"), alice) as (reader,),
            clients_of(site.url("second"), alice, admin) as (writer, moderator),
        ):
            hidden = await upload(reader, bad)
            await remember((reader, writer), [hidden])
            _, copy, kept = await through_a_kill(
                site,
                "second",
                ["media_blobs"],
                lambda: hide(moderator, hidden),
                lambda: upload(writer, bad),
                lambda: upload(writer, good),
            )
            assert [await download(writer, uri) for uri in (hidden, copy)] == [None] * 2
            for uri in (hidden, copy):
                await until_gone(reader, uri)
            for client in (reader, writer):
                assert await download(client, kept) == good

    asyncio.run(talk())
