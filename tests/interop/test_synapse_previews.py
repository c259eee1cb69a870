"""Previews of pages: what clients are told of a page is what Synapse tells them."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import pytest
from attrs import evolve

from tests.interop.alike import Caller, differences
from tests.interop.conftest import configured
from tests.interop.synapse import Synapse
from tests.interop.test_synapse_media import NEW, OLD, picture
from tests.processes.harness import Server

OPTIONS = {
    "url_preview_enabled": True,
    "url_preview_ip_range_blacklist": ["10.0.0.0/8", "127.0.0.2/32"],
    "url_preview_ip_range_whitelist": ["127.0.0.1/32"],
    "url_preview_url_blacklist": [{"netloc": "blocked.test"}, {"path": "/blocked*"}],
}
WORDS = "The quick brown fox jumps over the lazy dog, and then it sleeps under a tree for a while. "
PAGE = "<html><head>{head}</head><body>{body}</body></html>"


def _og(name: str, content: str) -> str:
    return f'<meta property="og:{name}" content="{content}">'


HTML: Mapping[str, str] = {
    "opengraph": PAGE.format(
        head="<title>Not this</title>"
        + _og("title", "A title")
        + _og("description", "What it is about")
        + _og("site_name", "The site")
        + _og("type", "article")
        + _og("url", "https://example.test/canonical")
        + _og("image", "/picture.png")
        + _og("image:width", "1")
        + _og("image:alt", "A red square"),
        body="<p>Text</p>",
    ),
    "title": PAGE.format(head="<title> A \n title </title>", body="<p>Some text.</p><p>And more.</p>"),
    "heading": PAGE.format(head="", body="<h1>A heading</h1><p>Some text.</p>"),
    "second-heading": PAGE.format(
        head="<title></title>", body="<h2>A heading</h2><h3>x</h3><p>Some text.</p>"
    ),
    "description": PAGE.format(
        head='<title>T</title><meta name="description" content="Said of itself">', body="<p>Text.</p>"
    ),
    "long": PAGE.format(
        head="<title>T</title>", body=f"<p>{WORDS * 3}</p><p>{WORDS * 3}</p><p>{WORDS * 9}</p>"
    ),
    "long-title": PAGE.format(head=f"<title>{'x' * 1500}</title>", body="<p>Text.</p>"),
    "unseen": PAGE.format(
        head="<title>T</title>",
        body="<nav>Menu</nav><header>Head</header><script>code</script><style>p {}</style><noscript>No</noscript>"
        "<svg><text>drawn</text></svg><p>Text</p><aside>Aside</aside><footer>Foot</footer>",
    ),
    "twitter": PAGE.format(
        head='<meta name="twitter:card" content="summary"><meta name="twitter:title" content="A title">'
        '<meta name="twitter:description" content="About"><meta name="twitter:image" content="/picture.png">',
        body="<p>Text.</p>",
    ),
    "named": PAGE.format(head='<meta name="og:title" content="By name">', body="<p>Text.</p>"),
    "empty-values": PAGE.format(head=_og("title", "") + _og("description", ""), body="<h1>Heading</h1>Text"),
    "twice": PAGE.format(head=_og("title", "First") + _og("title", "Second"), body="Text"),
    "entities": PAGE.format(
        head=_og("title", "A &amp; B &lt;3 &#233;"), body="<p>&copy; text &nbsp; more</p>"
    ),
    "pictures": PAGE.format(
        head="<title>T</title>",
        body='<img src="/small.png" width="10" height="10"><img src="/picture.png" width="64" height="48">Text',
    ),
    "a-picture-of-unknown-size": PAGE.format(
        head="<title>T</title>", body='<img src="/picture.png" alt="Red">Text'
    ),
    "a-small-picture": PAGE.format(
        head="<title>T</title>", body='<img src="/small.png" width="10" height="10">Text'
    ),
    "a-picture-and-an-icon": PAGE.format(
        head='<title>T</title><link rel="icon" href="/small.png">',
        body='<img src="/picture.png" width="64" height="48">Text',
    ),
    "unsized-and-sized": PAGE.format(
        head="<title>T</title>",
        body='<img src="/small.png"><img src="/picture.png" width="64" height="48">Text',
    ),
    "sized-by-one": PAGE.format(
        head="<title>T</title>",
        body='<img src="/small.png" width="640"><img src="/picture.png">Text',
    ),
    "two-unsized": PAGE.format(
        head="<title>T</title>", body='<img src="/small.png"><img src="/picture.png">Text'
    ),
    "a-shortcut-icon": PAGE.format(
        head='<title>T</title><link rel="shortcut icon" href="/picture.png">', body="<p>Text.</p>"
    ),
    "a-touch-icon": PAGE.format(
        head='<title>T</title><link rel="apple-touch-icon" href="/picture.png">', body="<p>Text.</p>"
    ),
    "a-property-image": PAGE.format(
        head='<title>T</title><meta itemprop="image" content="/picture.png">', body="<p>Text.</p>"
    ),
    "inline": PAGE.format(
        head="<title>T</title>", body="<p>Some <b>bold</b> and <a href='#'>linked</a> text.</p>"
    ),
    "image-src": PAGE.format(
        head='<title>T</title><link rel="image_src" href="/picture.png">', body="<p>Text.</p>"
    ),
    "icon": PAGE.format(head='<title>T</title><link rel="icon" href="/picture.png">', body="<p>Text.</p>"),
    "no-picture": PAGE.format(head=_og("title", "T") + _og("image", "/absent.png"), body="Text"),
    "bad-picture": PAGE.format(head=_og("title", "T") + _og("image", "/text.txt"), body="Text"),
    "inline-picture": PAGE.format(
        head=_og("title", "T") + _og("image", "data:image/png;base64,AA"), body="Text"
    ),
    "no-body": "<html><head><title>T</title></head></html>",
    "no-html": "Just text, said to be HTML",
    "nothing": "",
    "oembed": PAGE.format(
        head='<title>T</title><link rel="alternate" type="application/json+oembed" href="{base}/oembed.json">',
        body="<p>Text.</p>",
    ),
    "oembed-photo": PAGE.format(
        head='<title>T</title><link rel="alternate" type="application/json+oembed" href="{base}/photo.json">',
        body="<p>Text.</p>",
    ),
    "oembed-gone": PAGE.format(
        head='<title>T</title><link rel="alternate" type="application/json+oembed" href="{base}/absent.json">',
        body="<p>Text.</p>",
    ),
    "oembed-video": PAGE.format(
        head='<title>T</title><link rel="alternate" type="application/json+oembed" href="{base}/video.json">',
        body="<p>Text.</p>",
    ),
}
OEMBED: Mapping[str, Mapping[str, Any]] = {
    "oembed": {
        "version": "1.0",
        "type": "rich",
        "title": "By oEmbed",
        "author_name": "Ada",
        "provider_name": "The provider",
        "html": "<p>Rich <b>text</b></p>",
        "cache_age": 600,
    },
    "photo": {
        "version": "1.0",
        "type": "photo",
        "title": "A photo",
        "url": "/picture.png",
        "width": 64,
        "height": 48,
    },
    "video": {
        "version": "1.0",
        "type": "video",
        "title": "A video",
        "thumbnail_url": "{base}/picture.png",
        "html": '<iframe src="https://video.test/1"></iframe>',
    },
}
TEXT = "<html><head><title>Grüße</title></head><body><p>Übung 測試</p></body></html>"
OTHERS: Mapping[str, tuple[str, bytes]] = {
    "picture.png": ("image/png", picture(64, 48)),
    "small.png": ("image/png", picture(10, 10)),
    "text.txt": ("text/plain", b"plain text"),
    "file.bin": ("application/octet-stream", b"\0\1\2"),
    "data.json": ("application/json", b'{"title": "x"}'),
    "utf-8": ("text/html; charset=utf-8", TEXT.encode()),
    "latin-1": ("text/html; charset=iso-8859-1", TEXT.encode("latin-1", "xmlcharrefreplace")),
    "latin-1-said-in-the-page": (
        "text/html",
        TEXT.replace("<title>", '<meta charset="iso-8859-1"><title>').encode("latin-1", "xmlcharrefreplace"),
    ),
    "shift-jis": (
        "text/html; charset=shift_jis",
        "<html><head><title>日本語</title></head><body><p>テスト</p></body></html>".encode("shift_jis"),
    ),
    "no-charset": ("text/html", TEXT.encode()),
    "a-wrong-charset": ("text/html; charset=nonsense", TEXT.encode()),
    "a-mark": ("text/html", "\ufeff".encode() + TEXT.encode()),
    "xhtml": ("application/xhtml+xml", ('<?xml version="1.0" encoding="utf-8"?>' + TEXT).encode()),
    "no-type": ("", TEXT.encode()),
}
REDIRECTS = {"redirect": "/opengraph", "redirect-twice": "/redirect", "redirect-round": "/redirect-round"}
STATUSES = {"missing": 404, "broken": 500, "forbidden": 403}


class _Web(BaseHTTPRequestHandler):
    """Pages by path."""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].strip("/")
        base = f"http://{self.headers['Host']}"
        if name in REDIRECTS:
            self._answer(302, "text/plain", b"", {"Location": REDIRECTS[name]})
        elif name in OTHERS:
            self._answer(200, *OTHERS[name])
        elif name in HTML:
            self._answer(200, "text/html; charset=utf-8", HTML[name].replace("{base}", base).encode())
        elif name.removesuffix(".json") in OEMBED:
            text = json.dumps(OEMBED[name.removesuffix(".json")]).replace("{base}", base)
            self._answer(200, "application/json", text.encode())
        else:
            self._answer(STATUSES.get(name, 404), "text/html", b"<title>An error</title>")

    def log_message(self, *_: object) -> None:
        """To nobody."""

    def _answer(self, status: int, kind: str, body: bytes, more: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **(more or {})}
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """The address of the pages."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    with Synapse(tmp_path_factory.mktemp("synapse"), options=OPTIONS) as synapse:
        yield synapse


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    configured(directory, OPTIONS)
    with Server(directory) as server:
        yield server


def previews(caller: Caller, web: str) -> None:
    """Of pages of all kinds, and of what is no page."""
    caller.register("alice")

    def ask(label: str, url: str, path: str = NEW) -> None:
        path = f"{path}/preview_url?url={quote(url, safe='')}"
        answer = caller.ask("GET", path, by="alice")
        while answer.status == TOO_MANY:
            time.sleep(answer["retry_after_ms"] / 1000)
            answer = caller.ask("GET", path, by="alice")
        # There what is not there is null, and a text has lines; here it is one.
        said = {name: value for name, value in answer.body.items() if value is not None}
        for name in {"og:title", "og:description"} & said.keys():
            said[name] = " ".join(said[name].split())
        caller.answers[label] = evolve(answer, body=said)

    for name in (*HTML, *OTHERS, *REDIRECTS, *STATUSES):
        ask(name, f"{web}/{name}")
    ask("the old path", f"{web}/opengraph", OLD)
    ask("a fragment", f"{web}/opengraph#part")
    ask("a query", f"{web}/title?a=1&b=2")
    ask("a time", f"{web}/title&ts=1")
    for label, url in {
        "a blocked host": "http://blocked.test/",
        "a blocked path": f"{web}/blocked/page",
        "a denied address": "http://10.0.0.1/",
        "a denied loopback": "http://127.0.0.2/",
        "an unknown host": "http://nobody.invalid/",
        "nobody listens": "http://127.0.0.1:9/",
        "another scheme": "ftp://127.0.0.1/",
        "a file": "file:///etc/passwd",
        "no URL": "nonsense",
        "nothing": "",
    }.items():
        ask(f"{label} is asked for", url)
    caller.call("no parameter", "GET", f"{NEW}/preview_url", by="alice")
    caller.call("nobody", "GET", f"{NEW}/preview_url?url={quote(web, safe='')}")
    caller.call("the limit of what is shown", "GET", f"{NEW}/config", by="alice")


TOO_MANY = 429
NO_FAILURE = "a file that is no page has no preview, and that is no failure"
NOT_HAD = "what cannot be had is 502, however it fails"
ALLOWED: Mapping[str, str] = {
    "twice: .og:title": "of several values the first is preferred (ogp.me)",
    "long: .og:description": "a few words more",
    "text.txt: status: 200": NO_FAILURE,
    "file.bin: status: 200": NO_FAILURE,
    "redirect-round: status: 502": NOT_HAD,
    "nobody listens is asked for: status: 502": NOT_HAD,
}


def test_previews(web: str, synapse: Synapse, server: Server) -> None:
    """Pages look in a client as they did before."""
    wrong = differences(partial(previews, web=web), synapse, server, ALLOWED)
    assert not wrong, "\n".join(wrong)
