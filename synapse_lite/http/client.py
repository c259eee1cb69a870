"""Requests to other servers: one client, with an address policy and a limit on everything that arrives.

Where a name leads is checked when the connection is made, after DNS and for each redirect: a name that
resolves to something else the second time, and an address in disguise, get no further than others.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

from attrs import evolve, frozen
from hyperlink import URL, URLParseError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.protocol import Factory
from twisted.web.iweb import IPolicyForHTTPS

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.http.addresses import AddressPolicy
from synapse_lite.http.answers import Answer, Connection, UnansweredError
from synapse_lite.http.connections import (
    AddressDeniedError,
    Connector,
    Origin,
    RequestError,
    Route,
    TookTooLongError,
)
from synapse_lite.http.idle import IdleConnections
from synapse_lite.http.proxies import NONE, Proxies, ProxyError
from synapse_lite.http.tls import Certificates

__all__ = [
    "AddressDeniedError",
    "BodyTooLargeError",
    "HttpClient",
    "Reply",
    "RequestError",
    "Route",
    "TookTooLongError",
    "absolute_url",
    "normal_url",
]

KEPT = 2  # idle connections to one origin
REMEMBERED_URLS = 256
MAX_URL = 8192
_SEE_OTHER = 303
_MOVED = frozenset({301, 302})
_REDIRECTS = frozenset({*_MOVED, _SEE_OTHER, 307, 308})
_PORTS = {"http": 80, "https": 443}
_OF_ONE_ORIGIN = frozenset({"authorization", "cookie", "host"})
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
"""Asked once more when the other side closed a kept connection meanwhile: twice is as good as once (RFC 9110, section 9.2.2)."""
_WITH_BODY = frozenset({"POST", "PUT"})
_ON_THE_WIRE = re.compile(r"[\x21-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
    _body: Answer

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
    """Asks servers within one policy. No cookies, no compression."""

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
        proxies: Proxies = NONE,
    ) -> None:
        """`persistent`: connections are kept for the next request to the same origin, `kept` of them."""
        self._clock = clock
        self._user_agent = user_agent
        self._is_persistent = persistent
        self._idle = IdleConnections(clock, kept if persistent else 0)
        self._connector = Connector(reactor, policy, tls or cast("IPolicyForHTTPS", Certificates()), proxies)

    def stop(self) -> "Deferred[None]":
        return self._idle.close()

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
        is_repeatable: bool = False,
    ) -> AsyncIterator[Reply]:
        """Ask, follow at most so many redirects, and give the connection back at the end of the block.

        `route`: where to, instead of the host of the URL, which is then sent as it is. `timeout` (seconds) is for all of it, the reading of the body too.
        `is_repeatable`: twice does no harm, whatever the method. Raises `RequestError`.
        """
        deadline = _Deadline(self._clock, timeout, url)
        asked = _Asked(method, url, headers or {}, body, route, is_repeatable)
        answer: Answer | None = None
        try:
            reply = await self._follow(deadline, asked, redirects)
            answer = reply._body  # noqa: SLF001 (made here)
            yield reply
        finally:
            deadline.stop()
            if answer is not None:
                answer.close()

    async def _follow(self, deadline: "_Deadline", asked: "_Asked", redirects: int) -> Reply:
        while True:
            if asked.route is None:  # what goes by a route is signed as it is written
                asked = evolve(asked, url=normal_url(asked.url))
            reply = await self._ask(deadline, asked)
            location = reply.headers.get("location")
            if reply.status not in _REDIRECTS or location is None or redirects == 0:
                return reply
            reply._body.close()  # noqa: SLF001
            redirects -= 1
            asked = asked.redirected(reply.status, location)

    async def _ask(self, deadline: "_Deadline", asked: "_Asked") -> Reply:
        scheme, netloc, target = _parts(asked.url)
        origin = _origin(scheme, netloc, asked.route)
        headers = {"Host": netloc, **asked.headers}
        if proxy := self._connector.proxy_asked(origin):
            target = asked.url
            headers |= {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
        request = self._written(asked.method, target, headers, asked.body)
        kept = self._idle.take(origin)
        try:
            connection = kept or await self._connect(deadline, origin)
            answer = await self._exchange(deadline, connection, asked.url, request)
        except UnansweredError:
            if kept is None or not (asked.is_repeatable or asked.method in _REPEATABLE):
                raise
            connection = await self._connect(deadline, origin)
            answer = await self._exchange(deadline, connection, asked.url, request)
        return Reply(answer.status, answer.headers, asked.url, _length(answer.headers), answer)

    async def _exchange(
        self, deadline: "_Deadline", connection: Connection, url: str, request: bytes
    ) -> Answer:
        answer = connection.ask(url, request)
        deadline.on_expiry = answer.close
        try:
            await answer.head()
        except BaseException:
            answer.close()
            raise
        return answer

    async def _connect(self, deadline: "_Deadline", origin: Origin) -> Connection:
        factory = Factory.forProtocol(lambda: Connection(origin, self._idle))
        factory.noisy = False
        try:
            return await deadline.watch(Deferred.fromCoroutine(self._connector.connect(origin, factory)))
        except (RequestError, CancelledError):
            raise
        except (DNSLookupError, ConnectError, ProxyError) as error:
            raise RequestError(f"{origin} cannot be reached: {error}") from None
        except Exception as error:
            raise RequestError(f"{origin} gives no answer: {_reason(error)}") from error

    def _written(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"User-Agent: {self._user_agent}"]
        lines += [f"{name}: {text}" for name, text in headers.items()]
        if not self._is_persistent:
            lines.append("Connection: close")
        if body is not None or method in _WITH_BODY:
            lines.append(f"Content-Length: {len(body or b'')}")
        if any(map(_CONTROL.search, lines)):
            raise RequestError("a header holds control characters")
        return "\r\n".join((*lines, "", "")).encode() + (body or b"")


@lru_cache(REMEMBERED_URLS)  # a push gateway is asked again and again
def normal_url(url: str) -> str:
    """ASCII, with an explicit path and no fragment; `RequestError` for anything but http(s)://host/.

    An address in brackets has no zone: that is a matter of the host that asks.
    """
    try:
        parsed = _as_uri(URL.from_text(url[: MAX_URL + 1])).normalize()
        text = parsed.replace(fragment="", path=parsed.path or ("",)).to_text()
        text.encode("ascii")
    except (URLParseError, UnicodeError, ValueError, TypeError) as error:
        raise RequestError(f"not a URL: {error}") from None
    if parsed.scheme not in _PORTS or not parsed.host or not parsed.rooted or len(url) > MAX_URL:
        raise RequestError("not a URL of http or https with a host")
    if parsed.userinfo:
        raise RequestError("a URL with a user name is not requested")
    return text


def _as_uri(url: URL) -> URL:
    """`to_uri` takes an IPv6 address for a name of the DNS, whose letters it would have to encode."""
    if ":" not in url.host:
        return url.to_uri()
    return url.replace(host="").to_uri().replace(host=IPv6Address(url.host).compressed)


def absolute_url(base: str, reference: str) -> str:
    """What a reference means where it stands, as `normal_url`."""
    try:
        return normal_url(urljoin(base, reference))
    except ValueError as error:
        raise RequestError(f"not a URL: {error}") from None


def origin_of(url: str) -> tuple[str, str, int | None]:
    parsed = URL.from_text(url)
    return parsed.scheme, parsed.host, parsed.port


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme, host with port, and the rest as it goes over the wire."""
    if _ON_THE_WIRE.fullmatch(url) is None:
        raise RequestError("not a URL: it holds characters that are not sent")
    scheme, _, rest = url.partition("://")
    netloc, _, path = rest.partition("/")
    return scheme, netloc, f"/{path}"


@lru_cache(REMEMBERED_URLS)
def _origin(scheme: str, netloc: str, route: Route | None) -> Origin:
    try:
        parsed = urlsplit(f"//{netloc}")
        host, port = parsed.hostname or "", parsed.port or _PORTS[scheme]
    except ValueError as error:
        raise RequestError(f"not a URL: {error}") from None
    return Origin(scheme, host, port, route or Route(((host, port),)))


def _length(headers: Mapping[str, str]) -> int | None:
    """Of the body, as the other side says; the parser has checked it."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else None


def _stays(url: str, location: str, target: str, route: Route | None) -> bool:
    """Whether a redirect leads to where it came from. By a route that is not what the URL says."""
    return origin_of(target) == origin_of(url) if route is None else not urlsplit(location).netloc


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


@frozen
class _Asked:
    """What goes out, until a redirect changes it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    route: Route | None
    is_repeatable: bool

    def redirected(self, status: int, location: str) -> "_Asked":
        """The same of another place; what is meant for one origin goes to no other. `RequestError`."""
        method, body, headers, route = self.method, self.body, self.headers, self.route
        target = absolute_url(self.url, location)
        if not _stays(self.url, location, target, route):
            headers = {name: text for name, text in headers.items() if name.lower() not in _OF_ONE_ORIGIN}
            route = None
        if status == _SEE_OTHER or (status in _MOVED and method == "POST"):
            method, body = "GET", None
        return evolve(self, method=method, url=target, headers=headers, body=body, route=route)


class _Deadline:
    """The end of the time of a request: what waits then fails, what is read then ends."""

    def __init__(self, clock: Clock, seconds: float, url: str) -> None:
        self._url = url
        self._expired = False
        self._waiting: Deferred[Connection] | None = None
        self.on_expiry: Any = None
        self._call: DelayedCall = clock.call_later(seconds, self._expire)

    async def watch(self, asked: "Deferred[Connection]") -> Connection:
        if self._expired:
            asked.cancel()
        self._waiting = asked
        try:
            return await asked
        except Exception:
            if self._expired:
                raise TookTooLongError(f"{self._url} took too long") from None
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
