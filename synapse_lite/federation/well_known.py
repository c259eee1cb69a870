"""Servers that name another in their place: `/.well-known/matrix/server` (server-server API, "Resolving server names")."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from attrs import frozen

from synapse_lite import canonical_json
from synapse_lite.clock import Clock, doubling_pause
from synapse_lite.errors import MatrixError
from synapse_lite.http.client import BodyTooLargeError, HttpClient, RequestError
from synapse_lite.http.flights import Flights
from synapse_lite.ids import is_server_name
from synapse_lite.storage.cache import Cache

TIMEOUT_SECONDS = 10.0
MAX_ANSWER = 50 * 1024
MAX_REDIRECTS = 5
MAX_KEPT = 10_000  # hosts

USUAL, SHORTEST, LONGEST = 24 * 3600.0, 300.0, 48 * 3600.0
"""Seconds for which a name is good: when the host does not say, at least, and at most."""
NONE_SECONDS = 3600.0
"""How long a host is taken at its word that it has none."""
FIRST_RETRY = 60.0
OUTLIVES = 24 * 3600.0
"""A name that was good is used for so long after its time, while the host cannot be asked."""

_TEMPORARY = frozenset({408, 429}) | frozenset(range(500, 600))
_MAX_AGE = re.compile(r"max-age\s*=\s*\"?(\d{1,10})")


class _UnreachableError(Exception):
    """Asking again later may help."""


@frozen
class _Known:
    """`name` is used until `until`; a good one for longer, up to `outlived`, where the host does not answer."""

    name: str | None
    until: float
    outlived: float = 0
    failures: int = 0


class WellKnown:
    """What hosts say, kept for as long as they say, in bounds. Hosts that do not answer are not asked each time."""

    def __init__(self, http: HttpClient, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._known: Cache[str, _Known] = Cache(MAX_KEPT)
        self._flights: Flights[str, str | None] = Flights()

    async def delegated(self, host: str) -> str | None:
        """The server name that the host names in its place, if any."""
        known = self._known.get(host)
        if known is not None and known.until > self._clock.monotonic():
            return known.name
        return await self._flights.join(host, lambda: self._refresh(host, known))

    async def _refresh(self, host: str, old: _Known | None) -> str | None:
        try:
            fresh = await self._ask(host)
        except _UnreachableError:
            fresh = self._without_answer(old)
        self._known.put(host, fresh)
        return fresh.name

    def _without_answer(self, old: _Known | None) -> _Known:
        now = self._clock.monotonic()
        failures = old.failures if old is not None else 0
        until = now + doubling_pause(FIRST_RETRY, failures, NONE_SECONDS)
        if old is not None and old.name is not None and old.outlived > now:
            return _Known(old.name, until, old.outlived, failures + 1)
        return _Known(None, until, failures=failures + 1)

    async def _ask(self, host: str) -> _Known:
        url = f"https://{host}/.well-known/matrix/server"
        try:
            async with self._http.request(
                "GET", url, timeout=TIMEOUT_SECONDS, redirects=MAX_REDIRECTS
            ) as reply:
                if reply.status in _TEMPORARY:
                    raise _UnreachableError
                name = None
                if reply.status == 200 and reply.url.startswith("https://"):  # noqa: PLR2004 (OK)
                    name = _named(await reply.read(MAX_ANSWER))
                headers = reply.headers
        except BodyTooLargeError:
            name = None
        except RequestError:
            raise _UnreachableError from None
        now = self._clock.monotonic()
        if name is None:
            return _Known(None, now + NONE_SECONDS)
        until = now + _lifetime(headers, self._clock.now_ms() / 1000)
        return _Known(name, until, until + OUTLIVES)


def _named(data: bytes) -> str | None:
    try:
        answer = canonical_json.decode(data)
    except MatrixError:
        return None
    name = answer.get("m.server") if isinstance(answer, dict) else None
    return name if isinstance(name, str) and is_server_name(name) else None


def _lifetime(headers: Mapping[str, str], now: float) -> float:
    """Seconds, by Cache-Control and Expires; within the bounds of this server."""
    seconds = USUAL
    control = headers.get("cache-control", "").lower()
    if age := _MAX_AGE.search(control):
        seconds = float(age[1])
    elif "no-store" in control or "no-cache" in control:
        seconds = 0
    elif expires := headers.get("expires"):
        try:
            seconds = parsedate_to_datetime(expires).timestamp() - now
        except ValueError:
            seconds = 0  # RFC 9111, section 5.3: already expired
    return min(max(seconds, SHORTEST), LONGEST)
