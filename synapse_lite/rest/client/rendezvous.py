"""Where two devices meet when one signs in with a QR code (MSC4108)."""

from email.utils import formatdate

from synapse_lite.errors import invalid_param, missing_param
from synapse_lite.handlers.rendezvous import Rendezvous, RendezvousSession
from synapse_lite.http.access import Access
from synapse_lite.http.ratelimit import RateLimiter, network_of
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route

CREATE = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"
SESSIONS = "/_synapse/client/rendezvous"
SESSION = f"{SESSIONS}/{{session_id}}"
MAX_CONTENT = 4096
TEXT = "text/plain"


class RendezvousApi:
    """`base_url` ends in a slash. `limiter`: new sessions of an address."""

    def __init__(self, rendezvous: Rendezvous, limiter: RateLimiter, base_url: str) -> None:
        self._rendezvous = rendezvous
        self._limiter = limiter
        self._base_url = base_url

    def routes(self) -> list[Route]:
        return [
            Route("POST", CREATE, self.create, Access.NONE, max_body=MAX_CONTENT),
            Route("GET", SESSION, self.read, Access.NONE),
            Route("PUT", SESSION, self.write, Access.NONE, max_body=MAX_CONTENT),
            Route("DELETE", SESSION, self.delete, Access.NONE),
        ]

    async def create(self, request: Request) -> Response:
        """`POST /_matrix/client/unstable/org.matrix.msc4108/rendezvous`"""
        _check_type(request)
        await self._limiter.check(network_of(request.client_ip))
        session = await self._rendezvous.open(request.body)
        url = f"{self._base_url}{SESSIONS.removeprefix('/')}/{session.session_id}"
        return Response(201, {"url": url}, _headers(session))

    async def read(self, request: Request, *, session_id: str) -> Response:
        """`GET /_synapse/client/rendezvous/{session}`"""
        session = await self._rendezvous.find(session_id)
        if _quoted(session.etag) in _tags(request, "If-None-Match"):
            return Response(304, b"", _headers(session), TEXT)
        return Response(200, session.content, _headers(session), TEXT)

    async def write(self, request: Request, *, session_id: str) -> Response:
        """`PUT /_synapse/client/rendezvous/{session}`"""
        _check_type(request)
        expected = _tags(request, "If-Match")
        if len(expected) != 1:
            raise missing_param("If-Match")
        session = await self._rendezvous.replace(session_id, expected[0].strip('"'), request.body)
        return Response(202, b"", _headers(session), TEXT)

    async def delete(self, _request: Request, *, session_id: str) -> Response:
        """`DELETE /_synapse/client/rendezvous/{session}`"""
        await self._rendezvous.close(session_id)
        return Response(204, b"")


class RendezvousElsewhere:
    """Sends clients to another server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def routes(self) -> list[Route]:
        return [Route("POST", CREATE, self.redirect, Access.NONE, max_body=MAX_CONTENT)]

    async def redirect(self, _request: Request) -> Response:
        """`POST /_matrix/client/unstable/org.matrix.msc4108/rendezvous`"""
        return Response(307, b"", {"Location": self._url}, TEXT)


def _check_type(request: Request) -> None:
    if request.header("Content-Type").partition(";")[0].strip().lower() != TEXT:
        raise invalid_param(f"Content-Type must be {TEXT}")


def _tags(request: Request, name: str) -> list[str]:
    return [tag.strip() for value in request.headers(name) for tag in value.split(",") if tag.strip()]


def _quoted(etag: str) -> str:
    return f'"{etag}"'


def _headers(session: RendezvousSession) -> dict[str, str]:
    return {
        "ETag": _quoted(session.etag),
        "Expires": formatdate(session.valid_until_ts / 1000, usegmt=True),
        "Last-Modified": formatdate(session.modified_ts / 1000, usegmt=True),
        "Cache-Control": "no-store, no-transform",
        "Pragma": "no-cache",
    }
