"""Pages of the web that a real server on a loopback address plays, and what a user is shown of them."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.handlers.test_media_thumbnails import encoded, photo
from tests.http.memory import Answer
from tests.http.origins import Line, Origin, answer
from tests.server import TestServer, path_part

PATH = "/_matrix/client/v1/media/preview_url"

DENIED = ["127.0.0.0/8", "::1/128", "10.0.0.0/8"]
ENABLED = {
    "url_preview_enabled": True,
    "url_preview_ip_range_blacklist": DENIED,
    "url_preview_ip_range_whitelist": ["127.0.0.1/32"],
    "max_spider_size": 1_000_000,
}
PNG = encoded(photo(64, 48))
BUSY = (502, "M_UNKNOWN")


class Web:
    """Pages by path; a page is bytes, or a function of the connection."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Callable[[Line], None]] = {}
        self.origin = Origin(self._say)
        self.hidden = Origin(self._say, "127.0.0.2", self.origin.port)

    def page(self, path: str, html: str, *headers: str, status: str = "200 OK") -> str:
        self.pages[path] = answer(html.encode(), "Content-Type: text/html", *headers, status=status)
        return self.origin.url(path)

    def file(self, path: str, data: bytes, content_type: str, *headers: str) -> str:
        self.pages[path] = answer(data, f"Content-Type: {content_type}", *headers)
        return self.origin.url(path)

    def play(self, path: str, act: Callable[[Line], None]) -> str:
        self.pages[path] = act
        return self.origin.url(path)

    def _say(self, line: Line, request: bytes) -> None:
        page = self.pages.get(request.split()[1].decode(), answer(b"", status="404 Not Found"))
        if isinstance(page, bytes):
            line.send(page)
        else:
            page(line)


async def start(
    build_server: Callable[..., Awaitable[TestServer]], directory: Path, **options: Any
) -> tuple[TestServer, str]:
    server = await build_server(media_store_path=str(directory), **{**ENABLED, **options})
    return server, await server.user("alice")


async def preview(server: TestServer, token: str, url: str) -> Answer:
    return await server.call("GET", f"{PATH}?url={path_part(url)}", token=token)


async def shown(server: TestServer, token: str, url: str) -> Any:
    result = await preview(server, token, url)
    assert result.status == 200, result.body
    return result.json()


def refusal(result: Answer) -> tuple[int, str]:
    return result.status, result.json()["errcode"]
