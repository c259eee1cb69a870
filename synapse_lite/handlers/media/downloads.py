"""Reading media: who may see what, waiting for what is being uploaded, and what was last used when."""

import logging
from collections.abc import AsyncIterator
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.handlers.media.library import FileMissingError, Library, unavailable
from synapse_lite.handlers.media.patience import Patience
from synapse_lite.handlers.media.remembered import MediaRows
from synapse_lite.handlers.media.uploads import TOPIC, Sessions
from synapse_lite.handlers.requester import Requester
from synapse_lite.ids import is_same_server
from synapse_lite.matrix.media import OCTETS, Mxc, is_media
from synapse_lite.replication.bus import Bus
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.media import files, thumbnails
from synapse_lite.storage.media.files import Media

logger = logging.getLogger(__name__)

MAX_WAIT_MS = 60_000
NOTE_SECONDS = 60.0
MAX_NOTED = 50_000


@frozen
class Wanted:
    """`token_given`: asked through an endpoint that authenticates. `past_quarantine`: an administrator insists.

    `payer`: whose it is when another server is asked, the id of a user or an address.
    `requester` must still be logged in after a wait.
    """

    mxc: Mxc
    token_given: bool
    payer: str = ""
    requester: Requester | None = None
    allow_remote: bool = True
    timeout_ms: int = 20_000
    past_quarantine: bool = False


@frozen
class Content:
    """What there is to send. `sha256` names the bytes for good. `copy_for`: of another server's file, for whom."""

    media_type: str
    name: str | None
    sha256: bytes
    size: int
    copy_for: Wanted | None = None


class RemoteMedia(Protocol):
    """Brings media of other servers into the library."""

    async def fetch(self, mxc: Mxc, payer: str, timeout_ms: int) -> None:
        """Afterwards there is a row, or a `MatrixError` says why not."""


class Downloads:
    """`remote` None: other servers are not asked. `authenticated`: nor for those who do not say who they are."""

    def __init__(
        self,
        library: Library,
        rows: MediaRows,
        bus: Bus,
        sessions: Sessions,
        accesses: "Accesses",
        server_name: str,
        remote: RemoteMedia | None = None,
        *,
        authenticated: bool = True,
    ) -> None:
        self._library = library
        self._rows = rows
        self._bus = bus
        self._sessions = sessions
        self._accesses = accesses
        self._server_name = server_name
        self._remote = remote
        self._authenticated = authenticated

    async def find(self, wanted: Wanted) -> tuple[Media, Content]:
        """404 `M_NOT_FOUND` for what is absent or not to be seen, 504 `M_NOT_YET_UPLOADED`."""
        mxc = wanted.mxc
        if not is_media(mxc.origin, mxc.media_id):
            raise not_found("Not found")
        media = await self._read(wanted)
        self._check(wanted, media)
        if media.sha256 is None:
            media = await self._await_upload(wanted)
            if wanted.requester is not None:
                await self._sessions.check_again(wanted.requester)
            self._check(wanted, media)
        if media.sha256 is None or media.size is None:
            raise MatrixError(504, Errcode.NOT_YET_UPLOADED, "Media has not been uploaded yet")
        self._accesses.note(media.nid)
        copy_for = None if mxc.origin == self._server_name else wanted
        return media, Content(
            media.media_type or OCTETS, media.upload_name, media.sha256, media.size, copy_for
        )

    async def read(self, content: Content, start: int, length: int) -> AsyncIterator[bytes]:
        try:
            return await self._library.read(content.sha256, start, length)
        except FileMissingError:
            await self.fetch_again(content)
            return await self._library.read(content.sha256, start, length)

    async def read_at_once(self, content: Content, start: int, length: int) -> bytes:
        """As `read`, all of it: for what is small."""
        try:
            return await self._library.read_at_once(content.sha256, start, length)
        except FileMissingError:
            await self.fetch_again(content)
            return await self._library.read_at_once(content.sha256, start, length)

    async def fetch_again(self, content: Content) -> None:
        """The store has lost the bytes. 404 where nobody else has them; 503 for a thumbnail, which is made anew."""
        if content.copy_for is None:
            database, now_ms = self._library.database, self._library.clock.now_ms()
            if await database.transact(thumbnails.forget_lost, content.sha256, now_ms):
                raise unavailable("a thumbnail is lost, and made anew when it is asked for")
            raise FileMissingError
        await self._library.database.transact(self._forget, content.copy_for.mxc, content.sha256)
        await self._fetch(content.copy_for)

    def _forget(self, txn: Transaction, mxc: Mxc, sha256: bytes) -> None:
        media = files.read_media(txn, mxc.origin, mxc.media_id)
        if media is not None and media.sha256 == sha256:
            files.delete(txn, [media.nid], self._library.clock.now_ms())

    async def _read(self, wanted: Wanted) -> Media:
        media = await self._rows.of(self._name(wanted))
        if media is not None:
            return media
        await self._fetch(wanted)
        media = await self._rows.of(self._name(wanted))
        if media is None:
            raise not_found("Not found")
        return media

    async def _fetch(self, wanted: Wanted) -> None:
        may_ask = wanted.allow_remote and (wanted.token_given or not self._authenticated)
        if self._remote is None or not may_ask or is_same_server(wanted.mxc.origin, self._server_name):
            raise not_found("Not found")
        if await self._library.database.read(files.is_quarantined, *self._name(wanted)):
            raise not_found("Not found")
        await self._remote.fetch(wanted.mxc, wanted.payer, min(wanted.timeout_ms, MAX_WAIT_MS))

    def _name(self, wanted: Wanted) -> tuple[str, str]:
        return wanted.mxc.origin, wanted.mxc.media_id

    def _check(self, wanted: Wanted, media: Media) -> None:
        hidden = media.quarantined_by is not None and not wanted.past_quarantine
        if hidden or (media.authenticated and not wanted.token_given):
            raise not_found("Not found")
        expired = media.expires_ts is not None and media.expires_ts <= self._library.clock.now_ms()
        if media.sha256 is None and expired:
            raise not_found("Not found")

    async def _await_upload(self, wanted: Wanted) -> Media:
        """The media when it is there, or as it is when the time is over."""
        patience = Patience(self._library.clock, min(wanted.timeout_ms, MAX_WAIT_MS) / 1000)
        unsubscribe = self._bus.subscribe(TOPIC, patience.wake)
        try:
            while True:
                media = await self._read(wanted)
                if media.sha256 is not None or patience.over:
                    return media
                await patience.until_woken()
        finally:
            unsubscribe()
            patience.stop()


class Accesses:
    """Collects when media were last used, and writes it every minute, in one statement."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._nids: set[int] = set()
        self._timer: DelayedCall | None = None

    def start(self) -> None:
        self._timer = self._clock.call_later(NOTE_SECONDS, self._on_time)

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.write()

    def note(self, nid: int) -> None:
        if len(self._nids) < MAX_NOTED:
            self._nids.add(nid)

    async def write(self) -> None:
        if self._nids:
            nids, self._nids = self._nids, set()
            await self._database.transact(files.note_access, nids, self._clock.now_ms())

    def _on_time(self) -> None:
        self.start()
        Deferred.fromCoroutine(self.write()).addErrback(
            lambda failure: logger.warning("last use of media is not written: %s", failure.value)
        )
