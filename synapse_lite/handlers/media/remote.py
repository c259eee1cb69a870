"""Media of other servers: fetched when they are first asked for, once for all who ask, and kept as a cache."""

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial

from attrs import frozen
from twisted.internet.defer import DeferredSemaphore

from synapse_lite.errors import Errcode, MatrixError, limit_exceeded, not_found
from synapse_lite.federation.media import FileTooLargeError, RemoteFile, RemoteFiles
from synapse_lite.federation.peers import PeerError
from synapse_lite.handlers.media.library import Library
from synapse_lite.handlers.media.patience import Patience
from synapse_lite.handlers.media.refusals import Refusals
from synapse_lite.handlers.media.uploads import TOPIC
from synapse_lite.http.flights import Flights
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.ids import random_text
from synapse_lite.matrix.media import Mxc, clean_name, clean_type
from synapse_lite.replication.bus import Bus
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import fetches, files
from synapse_lite.storage.media.files import NewMedia

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""Files of one server; further ones wait."""

CLAIM_MS = 60_000
"""So long one process fetches a file for all; a second copy is the same file, so longer fetches lose nothing."""

PATIENCE_SECONDS = 60.0
REFUSED_SECONDS = 30.0
MAX_REFUSED_SECONDS = 600.0
_OF_THE_SERVER = frozenset({None, 429, 502, 503})
"""Statuses that are about the other server, not about the file; None: it does not answer."""


class PayerError(MatrixError):
    """Who pays had too much already: nothing to those who wait for the same file, and pay themselves."""

    def __init__(self, payer: str, refusal: MatrixError) -> None:
        super().__init__(refusal.status, refusal.errcode, refusal.message, refusal.extra)
        self.payer = payer


@frozen
class RemoteRules:
    """`denied`: servers whose media are not fetched, in lower case. `max_bytes`: the largest file; `max_burst` of the limiter."""

    denied: Collection[str]
    max_bytes: int
    max_burst: float
    authenticated: bool


class RemoteLibrary:
    """`limiter` counts bytes."""

    def __init__(
        self, library: Library, remote: RemoteFiles, bus: Bus, limiter: RateLimiter, rules: RemoteRules
    ) -> None:
        self._library = library
        self._remote = remote
        self._bus = bus
        self._limiter = limiter
        self._rules = rules
        self._refusals = Refusals(library.clock)
        self._flights: Flights[Mxc, None] = Flights()
        self._places: dict[str, DeferredSemaphore] = {}

    async def fetch(self, mxc: Mxc, payer: str, timeout_ms: int) -> None:
        """404 for what is not there, 429 for a payer who had much, 502 for a server that gives nothing, 504."""
        if mxc.origin.lower() in self._rules.denied:
            raise not_found("Media of this server are not fetched")
        self._refusals.check(mxc.origin)
        self._refusals.check(mxc)
        while True:
            try:
                return await self._flights.join(mxc, partial(self._fetch, mxc, payer, timeout_ms))
            except PayerError as error:
                if error.payer == payer:
                    raise

    async def _fetch(self, mxc: Mxc, payer: str, timeout_ms: int) -> None:
        async with self._place(mxc.origin), self._claim(mxc) as is_ours:
            if is_ours:
                self._refusals.check(mxc.origin)  # it may have said so while this one waited
                await self._bring(mxc, payer, timeout_ms)

    # One at a time

    @asynccontextmanager
    async def _place(self, origin: str) -> AsyncIterator[None]:
        places = self._places.setdefault(origin, DeferredSemaphore(AT_ONCE))
        await places.acquire()
        try:
            yield
        finally:
            places.release()
            if places.tokens == AT_ONCE:
                self._places.pop(origin, None)

    @asynccontextmanager
    async def _claim(self, mxc: Mxc) -> AsyncIterator[bool]:
        """False when another process has brought it meanwhile. 504 when that takes too long."""
        claimant = random_text(16)
        if not await self._until_claimed(mxc, claimant):
            yield False
            return
        try:
            yield True
        finally:
            await self._library.database.transact(fetches.release, mxc.origin, mxc.media_id, claimant)
            self._bus.publish(TOPIC, f"{mxc.origin}/{mxc.media_id}")

    async def _until_claimed(self, mxc: Mxc, claimant: str) -> bool:
        patience = Patience(self._library.clock, PATIENCE_SECONDS)
        unsubscribe = self._bus.subscribe(TOPIC, patience.wake)
        try:
            while not patience.over:
                claimed = await self._library.database.transact(self._try_to_claim, mxc, claimant)
                if claimed is not None:
                    return claimed
                await patience.until_woken()
        finally:
            unsubscribe()
            patience.stop()
        raise MatrixError(504, Errcode.NOT_YET_UPLOADED, "The media takes long to arrive")

    def _try_to_claim(self, txn: Transaction, mxc: Mxc, claimant: str) -> bool | None:
        """None while another process fetches it."""
        if files.read_media(txn, mxc.origin, mxc.media_id) is not None:
            return False
        now_ms = self._library.clock.now_ms()
        claimed = fetches.claim(txn, mxc.origin, mxc.media_id, claimant, now_ms, now_ms + CLAIM_MS)
        return True if claimed else None

    # Bringing

    async def _bring(self, mxc: Mxc, payer: str, timeout_ms: int) -> None:
        began = False
        try:
            async with self._remote.open(mxc, timeout_ms) as file:
                began = True
                await self._keep(mxc, payer, file)
        except PeerError as error:
            logger.info("media: %s is not fetched: %s", mxc, error)
            raise self._refused(mxc, error, began) from None

    async def _keep(self, mxc: Mxc, payer: str, file: RemoteFile) -> None:
        try:
            received = await self._library.receive(self._paid(payer, file), self._rules.max_bytes)
        except MatrixError as error:
            if error.errcode == Errcode.TOO_LARGE:
                raise FileTooLargeError(f"{mxc} has more than {self._rules.max_bytes} bytes") from None
            raise
        self._limiter.refund(payer, max(0, self._known_cost(file) - received.size))
        new = NewMedia(
            mxc.origin,
            mxc.media_id,
            None,
            clean_type(file.content_type),
            clean_name(file.name),
            self._library.clock.now_ms(),
            self._rules.authenticated,
        )
        await self._library.keep(received, files.add, new, received.sha256, received.size)

    async def _paid(self, payer: str, file: RemoteFile) -> AsyncIterator[bytes]:
        """Before they come where it is known how many, else as they come: the largest of files leaves no room for a second one."""
        await self._pay(payer, self._known_cost(file))
        left = self._rules.max_burst if file.size is None else 0
        async for chunk in file.chunks:
            if left > 0:
                await self._pay(payer, min(len(chunk), left))
                left -= len(chunk)
            yield chunk

    def _known_cost(self, file: RemoteFile) -> float:
        return min(file.size or 0, self._rules.max_burst)

    async def _pay(self, payer: str, cost: float) -> None:
        try:
            await self._limiter.check(payer, cost)
        except MatrixError as error:
            raise PayerError(payer, error) from None

    def _refused(self, mxc: Mxc, error: PeerError, began: bool) -> MatrixError:
        """Remembered: whoever asks next gets the same answer, and the other server no further question."""
        refusal = _refusal(error)
        if refusal.errcode == Errcode.NOT_YET_UPLOADED:
            return refusal
        about_the_server = error.status in _OF_THE_SERVER and not began
        wait = REFUSED_SECONDS if error.retry_after_ms is None else error.retry_after_ms / 1000
        self._refusals.remember(
            mxc.origin if about_the_server else mxc, refusal, min(wait, MAX_REFUSED_SECONDS)
        )
        return refusal


def _refusal(error: PeerError) -> MatrixError:
    if isinstance(error, FileTooLargeError) or error.errcode == Errcode.TOO_LARGE:
        return MatrixError(502, Errcode.TOO_LARGE, "The content is too large for this server")
    if error.status == 404:  # noqa: PLR2004 (not found)
        return not_found("Not found")
    if error.status == 429:  # noqa: PLR2004 (too many requests)
        return limit_exceeded(error.retry_after_ms or round(REFUSED_SECONDS * 1000))
    if error.errcode == Errcode.NOT_YET_UPLOADED:
        return MatrixError(504, Errcode.NOT_YET_UPLOADED, "Media has not been uploaded yet")
    return MatrixError(502, Errcode.UNKNOWN, "The media cannot be fetched from the other server")
