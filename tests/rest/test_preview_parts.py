"""Previews whose parts are strange, each in its own way; and how many pages are asked at once."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers.media import previews
from synapse_lite.handlers.media.previews import AT_ONCE
from synapse_lite.media.pages import MAX_UNPACKED
from tests.http.origins import Line, answer
from tests.rest.conftest import BuildServer
from tests.rest.web import BUSY, Web, preview, refusal, shown, start
from tests.server import TestServer

LINKED = '<head><link type="application/json+oembed" href="/oembed"></head>'


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        (1, 300),
        (1000, 1000),
        ("1000", 1000),
        (315_360_000, 86_400),
        (10**300, 86_400),
        (-1, 300),
        ("soon", 3600),
    ],
)
@ensureDeferred
async def test_lifetimes_of_oembed(
    build_server: BuildServer, web: Web, tmp_path: Path, age: Any, seconds: int
) -> None:
    """Seconds, kept between five minutes and a day; what is no number says nothing."""
    server, token = await start(build_server, tmp_path)
    web.file("/oembed", json.dumps({"title": "T", "cache_age": age}).encode(), "application/json")
    url = web.page("/", LINKED)
    await shown(server, token, url)
    server.clock.advance(seconds - 2)
    await shown(server, token, url)
    assert len(web.origin.requests) == 2
    server.clock.advance(4)
    await shown(server, token, url)
    assert len(web.origin.requests) == 4


@pytest.mark.parametrize(
    "picture",
    ["data:image/png;base64,AAAA", "http://[", "ftp://x/y", "/none", "\ud800", "/\0", "x" * 9000, 7, ""],
)
@ensureDeferred
async def test_oembed_without_its_picture(
    build_server: BuildServer, web: Web, tmp_path: Path, picture: Any
) -> None:
    """Whatever becomes of the picture that it names, its title is there."""
    server, token = await start(build_server, tmp_path)
    described = {"title": "T", "thumbnail_url": picture}
    web.file("/oembed", json.dumps(described).encode(), "application/json")
    url = web.page("/", LINKED)
    assert await shown(server, token, url) == {"og:title": "T", "og:url": url}


@pytest.mark.parametrize("title", ["\ud800T", "T\0", "\ufeffT", "\u202eT"])
@ensureDeferred
async def test_letters_that_are_none(build_server: BuildServer, web: Web, tmp_path: Path, title: str) -> None:
    """Half a letter, or NUL, in JSON: no UTF-8 that a client could read, or a database store."""
    server, token = await start(build_server, tmp_path)
    web.file("/oembed", json.dumps({"title": title}).encode(), "application/json")
    found = await shown(server, token, web.page("/", LINKED))
    assert "T" in found["og:title"]
    found = await shown(server, token, web.page("/2", "<title>&#xD800;T&#0;</title>"))
    assert "T" in found["og:title"]


@ensureDeferred
async def test_a_long_url(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """As long as URLs may be."""
    server, token = await start(build_server, tmp_path)
    path = "".join(
        hashlib.sha256(bytes([number])).hexdigest() for number in range(120)
    )  # hardly compressible
    url = web.page(f"/{path}", "<title>T</title>")
    assert await shown(server, token, url) == {"og:title": "T"}
    await shown(server, token, url)
    assert len(web.origin.requests) == 1


@ensureDeferred
async def test_a_few_pages_at_once(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """However many are wanted: a message with many links does not fill memory with what they lead to."""
    server, token = await start(build_server, tmp_path)
    asked: list[Line] = []
    urls = [web.play(f"/{n}", asked.append) for n in range(AT_ONCE + 5)]
    results = [Deferred.fromCoroutine(shown(server, token, url)) for url in urls]
    while len(asked) < AT_ONCE:
        await _a_moment(server)
    for _ in range(20):
        await _a_moment(server)
    assert len(asked) == AT_ONCE
    await _answer_all(server, asked, results)
    assert await gatherResults(results) == len(urls) * [{"og:title": "T"}]


@ensureDeferred
async def test_too_many_wait(
    build_server: BuildServer, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a further page is refused at once, and when to ask again is said; for one of those that are asked for there is room."""
    server, token = await start(build_server, tmp_path)
    monkeypatch.setattr(previews, "MAX_WAITING", 2)
    asked: list[Line] = []
    first, second = (web.play(path, asked.append) for path in ("/1", "/2"))
    results = [Deferred.fromCoroutine(shown(server, token, url)) for url in (first, second)]
    while len(asked) < 2:
        await _a_moment(server)
    refused = await preview(server, token, web.page("/3", "<title>T</title>"))
    assert (refused.status, refused.json()["retry_after_ms"] > 0) == (503, True)
    results.append(Deferred.fromCoroutine(shown(server, token, first)))
    await _answer_all(server, asked, results)
    assert await gatherResults(results) == 3 * [{"og:title": "T"}]


async def _answer_all(server: TestServer, asked: list[Line], results: list[Deferred[Any]]) -> None:
    page = answer(b"<title>T</title>", "Content-Type: text/html")
    while not all(result.called for result in results):
        for line in asked:
            line.send(page)
        asked.clear()
        await _a_moment(server)


async def _a_moment(server: TestServer) -> None:
    await server.database.read(lambda txn: txn.value("SELECT 1"))


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("Deflate", zlib.compress), ("identity", bytes)],
)
@ensureDeferred
async def test_a_packed_page(
    build_server: BuildServer, web: Web, tmp_path: Path, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """Some servers pack their pages for whoever asks."""
    server, token = await start(build_server, tmp_path)
    url = web.file("/", pack(b"<title>T</title>"), "text/html", f"Content-Encoding: {encoding}")
    assert await shown(server, token, url) == {"og:title": "T"}


@ensureDeferred
async def test_a_page_that_cannot_be_unpacked(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """Has no preview, rather than one of noise; a small one that becomes very large is read as far as it may be."""
    server, token = await start(build_server, tmp_path)
    for encoding, data in (("br", b"\x0b\x07\x80<title>T</title>\x03"), ("gzip", b"<title>T</title>")):
        url = web.file(f"/{encoding}", data, "text/html", f"Content-Encoding: {encoding}")
        assert refusal(await preview(server, token, url)) == BUSY
    large = gzip.compress(b"<title>T</title>" + b" " * 2 * MAX_UNPACKED + b"<h1>more</h1>")
    url = web.file("/large", large, "text/html", "Content-Encoding: gzip")
    assert await shown(server, token, url) == {"og:title": "T"}
