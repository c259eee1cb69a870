"""Files of every kind in a real browser: what is shown, what is only downloaded, and that nothing of it runs."""

import json
import urllib.request
from contextlib import suppress
from urllib.parse import quote

from synapse_lite.cli.demo.connection import User
from synapse_lite.matrix.media import INLINE
from tests.interop.browser.webdriver import Browser, WebDriverError, install
from tests.processes.conftest import BuildSite, build_site

__all__ = ["build_site"]

SCRIPT = b"<script>document.title = 'ran'</script><svg xmlns='http://www.w3.org/2000/svg' onload=\"document.title='ran'\"/>"
SHOWN = frozenset(
    {
        "text/css",
        "text/plain",
        "application/json",
        "image/jpeg",
        "image/gif",
        "image/png",
        "image/webp",
        "image/avif",
    }
)
"""Of those that may be: it plays sound and film, and downloads the rest."""

DOWNLOADED = (
    "text/html", "application/xhtml+xml", "image/svg+xml", "application/pdf", "text/xml", "application/xml",
    "text/javascript", "application/javascript", "application/zip", "application/octet-stream", "text/markdown",
    "application/wasm", "multipart/related", "message/rfc822", "application/x-shockwave-flash", "text/html; charset=utf-8",
)  # fmt: skip


def test_what_a_browser_does(build_site: BuildSite) -> None:
    """Common pictures and plain text are shown, in a place of their own; what may hold a script is never a page."""
    install()
    site = build_site("main", enable_authenticated_media=False)
    site.start("main")
    user = site.user("alice")
    with Browser() as browser:
        for content_type in sorted(SHOWN & INLINE):
            url = upload(user, content_type)
            assert is_shown(browser, user, url), content_type
            assert browser.script("return window.origin") == "null", content_type
        for content_type in DOWNLOADED:
            assert not is_shown(browser, user, upload(user, content_type)), content_type


def upload(user: User, content_type: str) -> str:
    """Where it is."""
    request = urllib.request.Request(
        f"{user.base_url}/_matrix/media/v3/upload?filename={quote('a file')}", SCRIPT, method="POST"
    )
    request.add_header("Authorization", f"Bearer {user.access_token}")
    request.add_header("Content-Type", content_type)
    with urllib.request.urlopen(request, timeout=300) as answer:
        uri: str = json.load(answer)["content_uri"]
    return f"{user.base_url}/_matrix/media/v3/download/{uri.removeprefix('mxc://')}"


def is_shown(browser: Browser, user: User, url: str) -> bool:
    """Whether the window goes there; nothing of it may have run."""
    before = f"{user.base_url}/_matrix/client/versions"
    browser.open(before)
    with suppress(WebDriverError):  # it was not a page
        browser.open(url)
    assert browser.script("return document.title") != "ran", url
    place: str = browser.script("return location.href")
    return place == url
