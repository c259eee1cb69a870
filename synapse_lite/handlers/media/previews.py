"""Previews of web pages: what a page says about itself, and its picture (client-server API, "Content repository").

The page is the only part that must succeed; oEmbed and the picture are given when they are there.
"""

import fnmatch
import logging
import re
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson
from attrs import evolve, frozen
from twisted.internet.defer import DeferredSemaphore

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, forbidden, invalid_param
from synapse_lite.handlers.media.library import RETRY_MS, Library
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.client import (
    AddressDeniedError,
    HttpClient,
    Reply,
    RequestError,
    normal_url,
)
from synapse_lite.http.flights import Flights
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.ids import random_text
from synapse_lite.matrix.media import Mxc, clean_type, essence
from synapse_lite.media.incoming import Received
from synapse_lite.media.oembed import Provider, find_provider
from synapse_lite.media.store import StoreError
from synapse_lite.media.threads import TooLargeError
from synapse_lite.media.workers import JobFailedError, MediaWorkers, PoolBusyError
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import files, previews
from synapse_lite.storage.media.files import NewMedia
from synapse_lite.storage.media.previews import Preview

logger = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE = 8
MAX_WAITING = 200
PART_SECONDS = 10.0
REDIRECTS = 5
MAX_OEMBED_BYTES = 256 * 1024
MINUTE_MS = 60_000
SHORTEST_MS, USUAL_MS, LONGEST_MS = 5 * MINUTE_MS, 60 * MINUTE_MS, 24 * 60 * MINUTE_MS

_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,12})")
_ASKING = re.compile(r"//consent\.|/(?:accounts/)?(?:login|signin|sign_in|consent)(?:[/?.]|$)", re.IGNORECASE)
"""Of a URL to which a page was redirected: it is about the visitor, not about the page."""


@frozen
class PreviewRules:
    """`languages`: the best first. `denied_urls`: parts of URLs by name, each a glob, or with ^ an expression."""

    server_name: str
    max_bytes: int
    max_pixels: int
    languages: Sequence[str]
    denied_urls: Sequence[Mapping[str, str]]
    providers: Sequence[Provider]
    authenticated: bool

    @property
    def accept_language(self) -> str:
        return ", ".join(
            name if n == 0 else f"{name};q={max(0.1, 1 - n / 10):.1f}"
            for n, name in enumerate(self.languages)
        )


@frozen
class _Part:
    """`shown`: a picture of the page, where it names none. `age_ms`: for how long it may be kept, None when nothing is said."""

    og: JsonObject
    image: str | None = None
    shown: str | None = None
    oembed: str | None = None
    age_ms: int | None = None
    picture: Received | None = None


@frozen
class _Picture:
    """One that can be decoded. Sides in pixels."""

    received: Received
    media_type: str
    width: int
    height: int


class Previews:
    def __init__(
        self,
        library: Library,
        client: HttpClient,
        workers: MediaWorkers,
        limiter: RateLimiter,
        rules: PreviewRules,
    ) -> None:
        self._library = library
        self._client = client
        self._workers = workers
        self._limiter = limiter
        self._rules = rules
        self._language = ",".join(rules.languages)
        self._places = DeferredSemaphore(AT_ONCE)
        self._making: Flights[str, str] = Flights()

    async def preview(self, requester: Requester, url: str) -> bytes:
        """JSON: `og:…` by name. 403 for what is not to be asked, 502 when the page cannot be had, 429."""
        url = self._check(url)
        now_ms = self._library.clock.now_ms()
        found = await self._library.database.read(previews.read_preview, url, self._language, now_ms)
        if found is None:
            await check_user(self._limiter, requester)
            if len(self._making) >= MAX_WAITING and url not in self._making:
                raise MatrixError(
                    503, Errcode.UNKNOWN, "Too many previews at once", {"retry_after_ms": RETRY_MS}
                )
            found = await self._making.join(url, partial(self._in_turn, url))
        return found.encode()

    def _check(self, url: str) -> str:
        try:
            url = normal_url(url)
        except RequestError as error:
            raise invalid_param(str(error)) from None
        if any(_is_denied(url, denied) for denied in self._rules.denied_urls):
            raise forbidden("The URL is blocked on this server")
        return url

    async def _in_turn(self, url: str) -> str:
        """A few pages at a time, whoever asks."""
        await self._places.acquire()
        try:
            return await self._make(url)
        finally:
            self._places.release()

    async def _make(self, url: str) -> str:
        part = await self._describe(url)
        picture = await self._optional(self._picture(part))
        if picture is not None:
            json = await self._optional(self._keep_with_picture(url, part, picture))
            if json is not None:
                return json
        preview = self._preview(url, part, {})
        await self._library.database.transact(previews.write_preview, preview)
        return preview.json

    def _preview(self, url: str, part: _Part, picture: JsonObject) -> Preview:
        now_ms = self._library.clock.now_ms()
        lifetime = min(max(part.age_ms or USUAL_MS, SHORTEST_MS), LONGEST_MS)
        json = orjson.dumps({**part.og, **picture}).decode()
        return Preview(url, self._language, json, None, now_ms, now_ms + lifetime)

    async def _describe(self, url: str) -> _Part:
        """By oEmbed where the site is known for it, else by the page."""
        provider = find_provider(self._rules.providers, url)
        if provider is not None:
            described = await self._optional(self._ask_oembed(provider.url_for(url)))
            if described is not None and described.og:
                return _at(described, url)
        try:
            page = await self._ask_page(url)
        except AddressDeniedError:
            raise MatrixError(
                403, Errcode.UNKNOWN, "The address of this URL is blocked on this server"
            ) from None
        except (RequestError, StoreError) as error:
            logger.info("preview: %s", error)
            raise MatrixError(502, Errcode.UNKNOWN, "The page cannot be had") from None
        if page.oembed is None:
            return page
        described = await self._optional(self._ask_oembed(page.oembed))
        return page if described is None else _merge(page, _at(described, url))

    async def _ask_page(self, url: str) -> _Part:
        async with self._ask(url) as reply:
            _check_status(reply)
            if reply.url != url and _ASKING.search(reply.url):
                return _Part({})
            kind = essence(reply.headers.get("content-type", ""))
            if kind not in _PAGES and not kind.startswith("image/"):
                return _Part({})
            received = await self._receive(reply, self._rules.max_bytes)
        age_ms = _age_ms(reply.headers.get("cache-control", ""))
        if kind not in _PAGES:
            name = urlsplit(reply.url).path.rpartition("/")[2]
            return _Part({"og:title": name} if name else {}, age_ms=age_ms, picture=received)
        about = {name: reply.headers.get(f"content-{name}", "") for name in ("type", "encoding")}
        job = {"job": "page", "content_type": about["type"], "encoding": about["encoding"], "url": reply.url}
        answer = await self._look(received, job)
        return _Part(answer["og"], answer["image"], answer["shown"], answer["oembed"], age_ms)

    async def _ask_oembed(self, url: str) -> _Part:
        async with self._ask(url) as reply:
            _check_status(reply)
            received = await self._receive(reply, MAX_OEMBED_BYTES)
        answer = await self._look(received, {"job": "oembed", "url": reply.url})
        age = answer["cache_age"]
        return _Part(answer["og"], answer["image"], age_ms=None if age is None else age * 1000)

    async def _picture(self, part: _Part) -> _Picture | None:
        """The page itself where it is a picture, else that of the page."""
        if part.picture is not None:
            return await self._measured(part.picture)
        image = part.image or part.shown
        if image is None:
            return None
        async with self._ask(image) as reply:
            _check_status(reply)
            received = await self._receive(reply, self._rules.max_bytes)
        return await self._measured(received)

    async def _measured(self, received: Received) -> _Picture:
        try:
            answer = await self._run(received.path, {"job": "measure", "max_pixels": self._rules.max_pixels})
        except BaseException:
            self._library.threads.discard(received)
            raise
        return _Picture(received, answer["media_type"], answer["width"], answer["height"])

    async def _keep_with_picture(self, url: str, part: _Part, picture: _Picture) -> str:
        """The picture becomes media of its own, in a namespace of its own."""
        mxc = Mxc(self._rules.server_name, f"preview_{random_text(24)}")
        og = {
            "og:image": str(mxc),
            "og:image:type": picture.media_type,
            "og:image:width": picture.width,
            "og:image:height": picture.height,
            "matrix:image:size": picture.received.size,
        }
        preview = self._preview(url, part, og)
        new = NewMedia(
            mxc.origin,
            mxc.media_id,
            None,
            clean_type(picture.media_type),
            None,
            preview.created_ts,
            self._rules.authenticated,
            url,
        )
        await self._library.keep(picture.received, _add, new, picture.received, preview)
        return preview.json

    def _ask(self, url: str) -> Any:
        headers = {"Accept-Language": self._rules.accept_language}
        return self._client.request("GET", url, headers=headers, timeout=PART_SECONDS, redirects=REDIRECTS)

    async def _receive(self, reply: Reply, max_bytes: int) -> Received:
        return await self._library.threads.receive(reply.chunks(max_bytes), max_bytes)

    async def _look(self, received: Received, job: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return await self._run(received.path, job)
        finally:
            self._library.threads.discard(received)

    async def _run(self, path: Path, job: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            answer = await self._workers.run({**job, "source": str(path)})
        except (JobFailedError, PoolBusyError) as error:
            raise RequestError(str(error)) from None
        if "error" in answer:
            raise RequestError(answer["error"])
        return answer

    async def _optional(self, part: Awaitable[T]) -> T | None:
        """None when it does not come: the rest is given all the same."""
        try:
            return await part
        except (RequestError, StoreError, TooLargeError, MatrixError) as error:
            logger.info("preview: %s", error)
            return None


def _add(txn: Transaction, new: NewMedia, received: Received, preview: Preview) -> bool:
    """At once: a picture goes with its preview, and one without would stay for ever."""
    media = files.add(txn, new, received.sha256, received.size)
    if media is None:
        return False
    previews.write_preview(txn, evolve(preview, media_nid=media.nid))
    return True


def _at(described: _Part, url: str) -> _Part:
    """What is said by oEmbed does not say where the page is."""
    return evolve(described, og={"og:url": url, **described.og})


def _merge(page: _Part, described: _Part) -> _Part:
    """The page's own words first: oEmbed fills what is missing."""
    return _Part(
        {**described.og, **page.og},
        page.image or described.image,
        page.shown,
        age_ms=described.age_ms or page.age_ms,
    )


def _check_status(reply: Reply) -> None:
    if reply.status != 200:  # noqa: PLR2004 (a status)
        raise RequestError(f"{reply.url} answers {reply.status}")


def _age_ms(cache_control: str) -> int | None:
    found = _MAX_AGE.search(cache_control.lower())
    return None if found is None else int(found[1]) * 1000


def _is_denied(url: str, denied: Mapping[str, str]) -> bool:
    """All named parts match; a part that the URL does not have matches nothing."""
    parts = urlsplit(url)
    for name, pattern in denied.items():
        value = getattr(parts, name, None)
        if value is None or value == "":
            return False
        text = str(value)
        matches = (
            re.match(pattern, text) is not None if pattern.startswith("^") else fnmatch.fnmatch(text, pattern)
        )
        if not matches:
            return False
    return True
