"""Uploads: at once, or into a name that was reserved before (client-server API, "Content repository")."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, forbidden, not_found
from synapse_lite.handlers.media.library import Library, too_large
from synapse_lite.handlers.media.remembered import MediaRows
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.ids import random_text
from synapse_lite.matrix.media import Mxc, clean_name, clean_type
from synapse_lite.media.incoming import Received
from synapse_lite.replication.bus import Bus
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import files
from synapse_lite.storage.media.files import Media, NewMedia

TOPIC = "media"
"""On the bus: a reserved name, "origin/media_id", was filled."""

ID_LETTERS = 24

Write = Callable[[Transaction, NewMedia, bytes, int], Media | None]
"""`files.add` or `files.fill`."""


@frozen
class Quota:
    """At most `max_bytes` uploaded within the last `period_ms`."""

    period_ms: int
    max_bytes: int


@frozen
class UploadRules:
    """Sizes are bytes. `reserved_ms` is the life of a reserved name, `max_reserved` how many one may have."""

    server_name: str
    max_bytes: int
    quotas: Sequence[Quota]
    max_reserved: int
    reserved_ms: int
    authenticated: bool


class Sessions(Protocol):
    """Whether whoever has been busy for long still may do what they began."""

    async def check_again(self, requester: Requester, /) -> None: ...


class Uploads:
    """A session that ends while its client sends has uploaded nothing: 401."""

    def __init__(
        self,
        library: Library,
        rows: MediaRows,
        bus: Bus,
        sessions: Sessions,
        creating: RateLimiter,
        rules: UploadRules,
    ) -> None:
        """`rows`: who gets the URI asks for the file soon, most often here."""
        self._library = library
        self._rows = rows
        self._sessions = sessions
        self._bus = bus
        self._creating = creating
        self._rules = rules

    async def upload(
        self,
        requester: Requester,
        body: AsyncIterator[bytes],
        *,
        length: int | None,
        content_type: str,
        name: str | None,
    ) -> Mxc:
        """`length` is what the client says, if anything. 413 `M_TOO_LARGE`, 403 when a quota is used up."""
        mxc = Mxc(self._rules.server_name, random_text(ID_LETTERS))
        await self._check(requester, length or 0)
        received = await self._receive(requester, body)
        new = self._new(mxc, requester, content_type, name)
        await self._keep(received, files.add, new)
        return mxc

    async def create(self, requester: Requester) -> JsonObject:
        """Reserve a name. 429 while the user has too many that are neither filled nor expired."""
        await check_user(self._creating, requester)
        mxc = Mxc(self._rules.server_name, random_text(ID_LETTERS))
        new = self._new(mxc, requester, "", None)
        expires_ts = new.created_ts + self._rules.reserved_ms
        reserved = await self._library.database.transact(
            files.reserve, new, expires_ts, self._rules.max_reserved
        )
        if not reserved:
            raise MatrixError(
                429,
                Errcode.LIMIT_EXCEEDED,
                "Too many reserved media that were not uploaded",
                {"retry_after_ms": self._rules.reserved_ms},
            )
        return {"content_uri": str(mxc), "unused_expires_at": expires_ts}

    async def fill(
        self,
        requester: Requester,
        mxc: Mxc,
        body: AsyncIterator[bytes],
        *,
        length: int | None,
        content_type: str,
        name: str | None,
    ) -> None:
        """404 for an unknown or expired name, 403 for another one's, 409 for one that is filled."""
        self._check_reserved(requester, await self._read(mxc))
        await self._check(requester, length or 0)
        received = await self._receive(requester, body)
        new = self._new(mxc, requester, content_type, name)
        try:
            await self._keep(received, files.fill, new)
        except files.FilledError:
            raise _filled() from None
        except files.ExpiredError:
            raise _expired() from None
        self._bus.publish(TOPIC, f"{mxc.origin}/{mxc.media_id}")

    async def _receive(self, requester: Requester, body: AsyncIterator[bytes]) -> Received:
        received = await self._library.receive(body, self._rules.max_bytes)
        try:
            await self._sessions.check_again(requester)
        except MatrixError:
            self._library.threads.discard(received)
            raise
        return received

    async def _check(self, requester: Requester, length: int) -> None:
        """Before the body is read."""
        if length > self._rules.max_bytes:
            raise too_large()
        if self._rules.quotas:
            await self._library.database.read(
                self._check_quotas, requester.user_id, length, self._library.clock.now_ms()
            )

    def _check_quotas(self, txn: Transaction, user_id: str, length: int, now_ms: int) -> None:
        for quota in self._rules.quotas:
            used = files.uploaded_since(txn, user_id, now_ms - quota.period_ms)
            if used + length > quota.max_bytes:
                raise MatrixError(
                    403, Errcode.RESOURCE_LIMIT_EXCEEDED, "You have uploaded as much as you may for now"
                )

    async def _keep(self, received: Received, write: Write, new: NewMedia) -> None:
        name = (new.origin, new.media_id)
        await self._rows.learn(name, self._library.keep(received, self._write, write, new, received))

    def _write(self, txn: Transaction, write: Write, new: NewMedia, received: Received) -> Media | None:
        """The quotas again, now that the size is known: the uploads of one user one after the other."""
        size = received.size
        if self._rules.quotas and new.user_id is not None:
            txn.row("SELECT FROM users WHERE user_id = %s FOR NO KEY UPDATE", (new.user_id,))
            self._check_quotas(txn, new.user_id, size, new.created_ts)
        return write(txn, new, received.sha256, size)

    async def _read(self, mxc: Mxc) -> Media:
        media = await self._library.database.read(files.read_media, mxc.origin, mxc.media_id)
        if media is None:
            raise not_found("Unknown media ID")
        return media

    def _check_reserved(self, requester: Requester, media: Media) -> None:
        if media.user_id != requester.user_id:
            raise forbidden("Only the creator of the media ID can upload to it")
        if media.sha256 is not None:
            raise _filled()
        if media.expires_ts is None or media.expires_ts <= self._library.clock.now_ms():
            raise _expired()

    def _new(self, mxc: Mxc, requester: Requester, content_type: str, name: str | None) -> NewMedia:
        return NewMedia(
            mxc.origin,
            mxc.media_id,
            requester.user_id,
            clean_type(content_type),
            clean_name(name),
            self._library.clock.now_ms(),
            self._rules.authenticated,
        )


def _filled() -> MatrixError:
    return MatrixError(409, Errcode.CANNOT_OVERWRITE_MEDIA, "Media ID already has content")


def _expired() -> MatrixError:
    return not_found("Media ID has expired")
