"""Previews of pages that a real server on a loopback address plays, with every trick that it knows."""

import json
from pathlib import Path

import pytest
from PIL import Image
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.storage.media import previews
from tests.handlers.test_media_thumbnails import encoded
from tests.http.origins import Line, answer
from tests.rest.conftest import BuildServer
from tests.rest.test_media import NEW, OLD
from tests.rest.web import BUSY, PNG, Web, preview, refusal, shown, start
from tests.server import path_part


@ensureDeferred
async def test_a_page_with_a_picture(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """Title, description and picture, which is media of its own; the languages are asked for."""
    server, token = await start(build_server, tmp_path, url_preview_accept_language=["de", "en"])
    web.file("/pic.png", PNG, "image/png")
    url = web.page("/", "<meta property=og:title content=T><meta property=og:image content=pic.png>")
    found = await shown(server, token, url)
    mxc = found.pop("og:image")
    assert found == {
        "og:title": "T",
        "og:image:type": "image/png",
        "og:image:width": 64,
        "og:image:height": 48,
        "matrix:image:size": len(PNG),
    }
    assert (await server.call("GET", f"{NEW}/download/{mxc[6:]}", token=token)).body == PNG
    thumbnail = f"{NEW}/thumbnail/{mxc[6:]}?width=9&height=9&method=crop"
    assert (await server.call("GET", thumbnail, token=token)).status == 200
    request = web.origin.requests[0].lower()
    assert b"accept-language: de, en;q=0.9\r\n" in request
    assert b"bot" in request
    assert b"0." not in request.split(b"user-agent:")[1].split(b"\r\n")[0]


@ensureDeferred
async def test_one_request_for_many_readers(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """Readers at the same time and within the hour share one look at the page; then it is looked at again."""
    server, token = await start(build_server, tmp_path)
    url = web.page("/", "<title>T</title>")
    results = await gatherResults([Deferred.fromCoroutine(shown(server, token, url)) for _ in range(20)])
    assert results == 20 * [{"og:title": "T"}]
    assert (await server.call("GET", f"{OLD}/preview_url?url={path_part(url)}", token=token)).status == 200
    assert len(web.origin.requests) == 1
    server.clock.advance(3601)
    await shown(server, token, url)
    assert len(web.origin.requests) == 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("max-age=1", 300),
        ("max-age=1000", 1000),
        ("max-age=99999999999", 86_400),
        ("max-age=x", 3600),
        ("", 3600),
    ],
)
@ensureDeferred
async def test_lifetimes(
    build_server: BuildServer, web: Web, tmp_path: Path, header: str, seconds: int
) -> None:
    """As long as the page says, between five minutes and a day."""
    server, token = await start(build_server, tmp_path)
    url = web.page("/", "<title>T</title>", f"Cache-Control: {header}")
    await shown(server, token, url)
    server.clock.advance(seconds - 2)
    await shown(server, token, url)
    assert len(web.origin.requests) == 1
    server.clock.advance(4)
    await shown(server, token, url)
    assert len(web.origin.requests) == 2


@ensureDeferred
async def test_oembed(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """A site that is known for it is asked by oEmbed alone; a page that names it is completed by it."""
    providers = tmp_path / "providers.json"
    endpoint = {"schemes": [web.origin.url("/known/*")], "url": web.origin.url("/oembed")}
    providers.write_text(json.dumps([{"endpoints": [endpoint]}]))
    server, token = await start(build_server, tmp_path, oembed={"additional_providers": [str(providers)]})
    known = web.origin.url("/known/1")
    described = json.dumps({"type": "link", "title": "From oEmbed", "provider_name": "P"}).encode()
    web.file(f"/oembed?url={path_part(known)}&format=json", described, "application/json")
    assert await shown(server, token, known) == {
        "og:title": "From oEmbed",
        "og:site_name": "P",
        "og:url": known,
    }
    web.file("/more", described, "application/json")
    link = '<link rel=alternate type="application/json+oembed" href=/more>'
    url = web.page("/page", f"<head>{link}<title>Own</title></head>")
    assert await shown(server, token, url) == {"og:title": "Own", "og:site_name": "P", "og:url": url}


@ensureDeferred
async def test_parts_that_fail(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """Whatever becomes of the picture and of oEmbed, the title is there."""
    server, token = await start(build_server, tmp_path)
    web.file("/text", b"no picture", "image/png")
    web.file("/svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml")
    web.file("/large", b"x" * 1_000_001, "image/png")
    web.file("/broken", b"{", "application/json")
    web.play("/cut", lambda line: (line.send(answer(b"x", length=9)), line.end()))
    pictures = [
        "/none", "/text", "/svg", "/large", "/cut", "data:image/png;base64,AAAA", "ftp://x/y", "http://127.0.0.2/x",
        f"http://127.0.0.2:{web.origin.port}/pic", "http://[", "javascript:alert(1)",
    ]  # fmt: skip
    for number, picture in enumerate(pictures):
        html = f'<head><title>T</title><meta property="og:image" content="{picture}"></head>'
        assert await shown(server, token, web.page(f"/{number}", html)) == {"og:title": "T"}
    for number, link in enumerate(("/none", "/broken", f"http://127.0.0.2:{web.origin.port}/o")):
        html = f'<head><title>T</title><link type="application/json+oembed" href="{link}"></head>'
        assert await shown(server, token, web.page(f"/o{number}", html)) == {"og:title": "T"}


@ensureDeferred
async def test_pages_that_fail(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """Without the page there is no preview: 502; the next one works."""
    server, token = await start(build_server, tmp_path)
    large = web.file("/large", b"<title>" + b"x" * 1_000_000, "text/html")
    for url in (
        web.origin.url("/none"),
        web.page("/error", "x", status="500 Oops"),
        web.play(
            "/cut", lambda line: (line.send(answer(b"x", "Content-Type: text/html", length=9)), line.end())
        ),
        web.play("/silent", lambda line: line.end()),
        web.play("/garbage", lambda line: line.send(b"SSH-2.0-OpenSSH\r\n")),
        large,
        "http://127.0.0.1:1/",
    ):
        assert refusal(await preview(server, token, url)) == BUSY
    assert await shown(server, token, web.page("/", "<title>T</title>")) == {"og:title": "T"}
    while list((tmp_path / "incoming").iterdir()):  # threads throw it away
        await server.core.media.threads.run(lambda: None)


@ensureDeferred
async def test_a_page_without_end(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """A stream is cut off at the limit; one that only drips, after ten seconds."""
    server, token = await start(build_server, tmp_path)

    def endless(line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
        line.stream(b"<p>" * 20_000)

    assert refusal(await preview(server, token, web.play("/endless", endless))) == BUSY
    assert web.origin.sent < 20_000_000
    asked: Deferred[None] = Deferred()

    def dripping(line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>")
        asked.callback(None)

    waiting = Deferred.fromCoroutine(preview(server, token, web.play("/drip", dripping)))
    await asked
    server.clock.advance(11)
    assert refusal(await waiting) == BUSY


@ensureDeferred
async def test_addresses(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """A denied address is not asked, however it is spelt, and whatever redirects to it."""
    server, token = await start(build_server, tmp_path)
    port = web.origin.port
    for host in (
        "127.0.0.2",
        "2130706434",
        "0x7f000002",
        "127.2",
        "[::ffff:127.0.0.2]",
        "[::ffff:7f00:2]",
        "0",
    ):
        result = await preview(server, token, f"http://{host}:{port}/")
        assert result.status in (400, 403, 502)
    for target in (
        f"http://127.0.0.2:{port}/",
        f"//127.0.0.2:{port}/",
        "file:///etc/passwd",
        "http://0x7f.2/",
    ):
        url = web.page(f"/to?{path_part(target)}", "", f"Location: {target}", status="302 Found")
        assert (await preview(server, token, url)).status in (403, 502)
    url = web.page("/loop", "", "Location: /loop", status="302 Found")
    assert refusal(await preview(server, token, url)) == BUSY
    web.page("/end", "<title>T</title>")
    url = web.page("/begin", "", "Location: end", status="302 Found")
    assert await shown(server, token, url) == {"og:title": "T"}
    by_address = f"http://[::ffff:127.0.0.1]:{port}/end"
    assert await shown(server, token, by_address) == {"og:title": "T"}
    assert refusal(await preview(server, token, by_address.replace("]", "%25lo]"))) == (
        400,
        "M_INVALID_PARAM",
    )


@ensureDeferred
async def test_pages_about_the_visitor(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """A redirect to a login or a consent form, and what is no page, have no preview."""
    server, token = await start(build_server, tmp_path)
    for number, form in enumerate(("/login?next=x", "/accounts/login/", "/a/SignIn", "/consent.html")):
        web.page(form, "<title>Who are you?</title>")
        url = web.page(f"/private/{number}", "", f"Location: {form}", status="302 Found")
        assert await shown(server, token, url) == {}
    web.page("/how-to-login", "<title>T</title>")
    url = web.page("/moved", "", "Location: /how-to-login", status="302 Found")
    assert await shown(server, token, url) == {"og:title": "T"}
    assert await shown(server, token, web.file("/zip", b"PK", "application/zip")) == {}


@ensureDeferred
async def test_a_picture_itself(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """A link to a picture shows the picture; what is none shows its name."""
    server, token = await start(build_server, tmp_path)
    found = await shown(server, token, web.file("/a/cat.png", PNG, "image/png"))
    assert (found["og:title"], found["og:image:width"]) == ("cat.png", 64)
    found = await shown(server, token, web.file("/b/cat.png", b"text", "image/png"))
    assert found == {"og:title": "cat.png"}


@ensureDeferred
async def test_a_picture_without_its_preview_is_not_kept(
    build_server: BuildServer, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends a process in between: nothing would delete the picture, as no preview names it."""
    server, token = await start(build_server, tmp_path)
    url = web.file("/cat.png", PNG, "image/png")
    pictures = "SELECT count(*) FROM media WHERE url_cache IS NOT NULL"
    with monkeypatch.context() as patched:
        patched.setattr(previews, "write_preview", _die)
        assert (await preview(server, token, url)).status == 500
    assert await server.database.read(lambda txn: txn.value(pictures)) == 0
    await shown(server, token, url)
    assert await server.database.read(lambda txn: txn.value(pictures)) == 1


def _die(*_: object) -> None:
    raise RuntimeError("here the process ends")


@ensureDeferred
async def test_many_large_pictures(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """A crowd of previews is worked on a few at a time, and all arrive."""
    server, token = await start(build_server, tmp_path)
    data = encoded(Image.effect_noise((900, 900), 90), "PNG")
    urls = [web.file(f"/{number}.png", data, "image/png") for number in range(30)]
    found = await gatherResults([Deferred.fromCoroutine(shown(server, token, url)) for url in urls])
    assert {one["og:image:width"] for one in found} == {900}


@ensureDeferred
async def test_limits(build_server: BuildServer, web: Web, tmp_path: Path) -> None:
    """It is off unless it is switched on; it needs a login; URLs can be blocked; it is no scanner."""
    server, token = await start(
        build_server, tmp_path, url_preview_url_blacklist=[{"path": "*/secret/*"}, {"netloc": "^bad\\."}]
    )
    url = web.page("/", "<title>T</title>")
    assert refusal(await server.call("GET", f"{NEW}/preview_url?url={path_part(url)}")) == (
        401,
        "M_MISSING_TOKEN",
    )
    assert refusal(await server.call("GET", f"{NEW}/preview_url", token=token)) == (400, "M_MISSING_PARAM")
    for bad, expected in (
        ("nonsense", (400, "M_INVALID_PARAM")),
        ("ftp://x/", (400, "M_INVALID_PARAM")),
        (web.origin.url("/secret/x"), (403, "M_FORBIDDEN")),
        ("http://bad.test/", (403, "M_FORBIDDEN")),
    ):
        assert refusal(await preview(server, token, bad)) == expected
    codes = [refusal(await preview(server, token, web.origin.url(f"/{n}")))[0] for n in range(60)]
    assert 429 in codes
    off = await build_server()
    bob = await off.user("bob")
    assert refusal(await preview(off, bob, url)) == (404, "M_UNRECOGNIZED")
