"""Requests to other servers: one agent, with an address policy and a limit on everything that arrives.

Where a name leads is checked when the connection is made, after DNS and for each redirect: a name that
resolves to something else the second time, and an address in disguise, get no further than others.
"""

# mypy: allow-untyped-calls, disable-error-code="call-arg"
# Twisted types its web client in part only, and its interfaces without `self`.

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from io import BytesIO
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

from attrs import frozen
from hyperlink import URL, URLParseError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS, IResponse

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.http.addresses import AddressPolicy
from synapse_lite.http.connections import (
    AddressDeniedError,
    GuardedEndpoints,
    GuardedReactor,
    RequestError,
    Route,
    RoutedAgent,
)
from synapse_lite.http.tls import Certificates

__all__ = [
    "AddressDeniedError",
    "BodyTooLargeError",
    "HttpClient",
    "Reply",
    "RequestError",
    "Route",
    "absolute_url",
    "normal_url",
]

IDLE_SECONDS = 60
KEPT = 2  # idle connections to one origin
REMEMBERED_URLS = 256
BUFFER_BYTES = 256 * 1024
MAX_URL = 8192
_DONE = Failure(ResponseDone())
_SEE_OTHER = 303
_MOVED = frozenset({301, 302})
_REDIRECTS = frozenset({*_MOVED, _SEE_OTHER, 307, 308})
_SCHEMES = frozenset({"http", "https"})
_OF_ONE_ORIGIN = frozenset({"authorization", "cookie", "host"})


class BodyTooLargeError(RequestError):
    """The answer is larger than the caller takes."""


@frozen
class Reply:
    """An answer whose head has arrived. `headers` by lower-case name, the last value of each.

    `url` is where it came from after redirects; `length` what the other side says, None when it does not.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    length: int | None
    _body: "_Body"

    async def chunks(self, max_bytes: int) -> AsyncIterator[bytes]:
        """The body as it arrives; the other side waits while the caller does. `BodyTooLargeError`."""
        if self.length is not None and self.length > max_bytes:
            raise BodyTooLargeError(f"{self.url} is larger than {max_bytes} bytes")
        received = 0
        while chunk := await self._body.next():
            received += len(chunk)
            if received > max_bytes:
                raise BodyTooLargeError(f"{self.url} is larger than {max_bytes} bytes")
            yield chunk

    async def read(self, max_bytes: int) -> bytes:
        return b"".join([chunk async for chunk in self.chunks(max_bytes)])


class HttpClient:
    """Asks servers within one policy. No cookies, no compression, no proxies of the environment."""

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        policy: AddressPolicy,
        *,
        user_agent: str,
        persistent: bool = False,
        kept: int = KEPT,
        tls: IPolicyForHTTPS | None = None,
    ) -> None:
        """`persistent`: connections are kept for the next request to the same origin, `kept` of them."""
        guarded = GuardedReactor(reactor, policy)
        self._clock = clock
        self._user_agent = user_agent
        self._pool = HTTPConnectionPool(guarded, persistent=persistent)
        self._pool.cachedConnectionTimeout = IDLE_SECONDS
        self._pool.maxPersistentPerHost = kept
        self._endpoints = GuardedEndpoints(guarded, tls or cast("IPolicyForHTTPS", Certificates()))
        agent = RoutedAgent.usingEndpointFactory(guarded, self._endpoints, self._pool)
        self._agent = cast("RoutedAgent", agent)

    def stop(self) -> "Deferred[None]":
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        timeout: float,  # noqa: ASYNC109 (there is no asyncio)
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        redirects: int = 0,
        route: Route | None = None,
    ) -> AsyncIterator[Reply]:
        """Ask, follow at most so many redirects, and give the connection back at the end of the block.

        `route`: where to, instead of the host of the URL, which is then sent as it is. `timeout` (seconds) is for all of it, the reading of the body too. Raises `RequestError`.
        """
        deadline = _Deadline(self._clock, timeout, url)
        exchange: _Body | None = None
        try:
            reply = await self._follow(deadline, method, url, dict(headers or {}), body, redirects, route)
            exchange = reply._body  # noqa: SLF001 (made here)
            yield reply
        finally:
            deadline.stop()
            if exchange is not None:
                exchange.close()

    async def _follow(
        self,
        deadline: "_Deadline",
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | None,
        redirects: int,
        route: Route | None,
    ) -> Reply:
        while True:
            # What goes by a route is signed as it is written.
            url = normal_url(url) if route is None else url
            reply = await self._ask(deadline, method, url, headers, body, route)
            location = reply.headers.get("location")
            if reply.status not in _REDIRECTS or location is None or redirects == 0:
                return reply
            reply._body.close()  # noqa: SLF001
            redirects -= 1
            target = absolute_url(reply.url, location)
            if not _stays(reply.url, location, target, route):
                headers = {k: v for k, v in headers.items() if k.lower() not in _OF_ONE_ORIGIN}
                route = None
            if reply.status == _SEE_OTHER or (reply.status in _MOVED and method == "POST"):
                method, body = "GET", None
            url = target

    async def _ask(
        self,
        deadline: "_Deadline",
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        route: Route | None,
    ) -> Reply:
        wire = Headers({"User-Agent": [self._user_agent], **{name: [text] for name, text in headers.items()}})
        producer: Any = None if body is None else FileBodyProducer(BytesIO(body))
        if route is None:
            asked = self._agent.request(method.encode(), url.encode(), wire, producer)
        else:
            asked = self._agent.request_via(
                self._endpoints, route, method.encode(), url.encode(), wire, producer
            )
        try:
            response = await deadline.watch(asked)
        except (RequestError, CancelledError):
            raise
        except (DNSLookupError, ConnectError) as error:
            raise RequestError(f"{_origin_text(url)} cannot be reached: {error}") from None
        except Exception as error:
            raise RequestError(f"{_origin_text(url)} gives no answer: {_reason(error)}") from error
        content = _Body(url)
        response.deliverBody(content)
        deadline.on_expiry = content.close
        length = response.length
        return Reply(
            response.code, _plain(response.headers), url, length if isinstance(length, int) else None, content
        )


@lru_cache(REMEMBERED_URLS)  # a push gateway is asked again and again
def normal_url(url: str) -> str:
    """ASCII, with an explicit path and no fragment; `RequestError` for anything but http(s)://host/."""
    try:
        parsed = URL.from_text(url[: MAX_URL + 1]).to_uri().normalize()
        text = parsed.replace(fragment="", path=parsed.path or ("",)).to_text()
        text.encode("ascii")
    except (URLParseError, UnicodeError, ValueError, TypeError) as error:
        raise RequestError(f"not a URL: {error}") from None
    if parsed.scheme not in _SCHEMES or not parsed.host or not parsed.rooted or len(url) > MAX_URL:
        raise RequestError("not a URL of http or https with a host")
    if parsed.userinfo:
        raise RequestError("a URL with a user name is not requested")
    return text


def absolute_url(base: str, reference: str) -> str:
    """What a reference means where it stands, as `normal_url`."""
    try:
        return normal_url(urljoin(base, reference))
    except ValueError as error:
        raise RequestError(f"not a URL: {error}") from None


def origin_of(url: str) -> tuple[str, str, int | None]:
    parsed = URL.from_text(url)
    return parsed.scheme, parsed.host, parsed.port


def _stays(url: str, location: str, target: str, route: Route | None) -> bool:
    """Whether a redirect leads to where it came from. By a route that is not what the URL says."""
    return origin_of(target) == origin_of(url) if route is None else not urlsplit(location).netloc


def _origin_text(url: str) -> str:
    scheme, host, port = origin_of(url)
    return f"{scheme}://{host}:{port}"


def _plain(headers: Headers) -> dict[str, str]:
    return {
        name.decode("ascii", "replace").lower(): values[-1].decode("utf-8", "replace")
        for name, values in headers.getAllRawHeaders()
    }


def _reason(error: Exception) -> str:
    """Twisted wraps the reasons of a broken exchange in a list."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        return "; ".join(str(getattr(reason, "value", reason)) for reason in reasons)
    return str(error) or type(error).__name__


class _Deadline:
    """The end of the time of a request: what waits then fails, what is read then ends."""

    def __init__(self, clock: Clock, seconds: float, url: str) -> None:
        self._url = url
        self._expired = False
        self._waiting: Deferred[IResponse] | None = None
        self.on_expiry: Any = None
        self._call: DelayedCall = clock.call_later(seconds, self._expire)

    async def watch(self, asked: "Deferred[IResponse]") -> IResponse:
        if self._expired:
            asked.cancel()
        self._waiting = asked
        try:
            return await asked
        except Exception:
            if self._expired:
                raise RequestError(f"{self._url} took too long") from None
            raise
        finally:
            self._waiting = None

    def stop(self) -> None:
        if self._call.active():
            self._call.cancel()

    def _expire(self) -> None:
        self._expired = True
        if self._waiting is not None:
            self._waiting.cancel()
        if self.on_expiry is not None:
            self.on_expiry()


class _Body(Protocol):
    """Hands out what arrives, and lets the other side wait while nobody takes it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._chunks: list[bytes] = []
        self._size = 0
        self._paused = False
        self._ended = False
        self._error: RequestError | None = None
        self._waiter: Deferred[None] | None = None

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        self._chunks.append(data)
        self._size += len(data)
        if self._size > BUFFER_BYTES and not self._paused and self.transport is not None:
            self._paused = True
            cast("Any", self.transport).pauseProducing()
        self._wake()

    def connectionLost(self, reason: Failure = _DONE) -> None:  # noqa: N802 (Twisted's name)
        self._ended = True
        # An HTTP/1.0 answer without a length ends with its connection, complete or not.
        if self._error is None and not reason.check(ResponseDone, PotentialDataLoss):
            self._error = RequestError(f"{self._url} broke off: {_reason(cast('Exception', reason.value))}")
        self._wake()

    async def next(self) -> bytes:
        """b"" at the end; `RequestError` when it broke off."""
        if not self._chunks and not self._ended:
            self._waiter = Deferred()
            await self._waiter
        if self._chunks:
            data, self._chunks, self._size = b"".join(self._chunks), [], 0
            if self._paused:
                self._paused = False
                cast("Any", self.transport).resumeProducing()
            return data
        if self._error is not None:
            raise self._error
        return b""

    def close(self) -> None:
        """Nobody wants the rest; who still reads is told that the time is over."""
        if not self._ended:
            self._error = RequestError(f"{self._url} took too long")
            self._chunks = []
            cast("Any", self.transport).stopProducing()

    def _wake(self) -> None:
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.callback(None)
