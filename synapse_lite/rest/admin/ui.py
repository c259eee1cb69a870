"""The admin page: static files that speak to the admin API with the token of who signed in."""

from functools import partial
from hashlib import sha256
from importlib import resources

from attrs import frozen

from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route

PATH = "/_synapse/admin/ui"
INDEX = "index.html"

_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_HEADERS = {
    # Nothing from elsewhere, nothing inline: a task's words cannot become code that holds an admin's token.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Kept, but never used unasked: the page and its scripts must be of one version.
    "Cache-Control": "no-cache",
}


@frozen
class PageFile:
    """`tag` is the entity tag, with its quotes."""

    name: str
    content: bytes
    content_type: str
    tag: str


class UiApi:
    def routes(self) -> list[Route]:
        """Reads the files, once."""
        files = read_files()
        routes = [
            Route("GET", f"{PATH}/{file.name}", partial(self.show, file=file), Access.NONE) for file in files
        ]
        index = next(file for file in files if file.name == INDEX)
        return [
            Route("GET", PATH, self.redirect, Access.NONE),
            Route("GET", f"{PATH}/", partial(self.show, file=index), Access.NONE),
            *routes,
        ]

    async def show(self, request: Request, *, file: PageFile) -> Response:
        """`GET /_synapse/admin/ui/...`, without a token; 304 when the browser has this version."""
        headers = {**_HEADERS, "ETag": file.tag}
        if file.tag in (tag.strip() for tag in request.header("If-None-Match").split(",")):
            return Response(304, b"", headers)
        return Response(200, file.content, headers, file.content_type)

    async def redirect(self, _request: Request) -> Response:
        """`GET /_synapse/admin/ui`: the addresses in the page are relative to the slash."""
        return Response(308, b"", {**_HEADERS, "Location": "ui/"}, "text/plain")


def read_files() -> list[PageFile]:
    """All files of the page, from the installed package."""
    directory = resources.files("synapse_lite.rest.admin").joinpath("ui")
    return [
        _file(entry.name, entry.read_bytes())
        for entry in sorted(directory.iterdir(), key=lambda entry: entry.name)
        if entry.is_file()
    ]


def _file(name: str, content: bytes) -> PageFile:
    content_type = _CONTENT_TYPES[name[name.rindex(".") :]]
    return PageFile(name, content, content_type, f'"{sha256(content).hexdigest()[:32]}"')
