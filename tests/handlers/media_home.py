"""The handlers of media on a real database and a directory."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet import reactor

from synapse_lite.clock import ReactorClock
from synapse_lite.handlers.media.downloads import Accesses, Downloads, Wanted
from synapse_lite.handlers.media.library import Library, missing_counter
from synapse_lite.handlers.media.remembered import media_rows
from synapse_lite.handlers.media.thumbnails import Size, ThumbnailRules, Thumbnails
from synapse_lite.handlers.media.uploads import UploadRules, Uploads
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.matrix.media import Mxc
from synapse_lite.media.directory import DirectoryStore
from synapse_lite.media.store import BlobStore
from synapse_lite.media.threads import MediaThreads
from synapse_lite.media.workers import MediaWorkers
from synapse_lite.replication.bus import LocalBus
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage.accounts import NewAccount, create_account
from synapse_lite.storage.database import Database
from synapse_lite.storage.events import EventStore
from tests.builders import ALICE, BOB, SERVER

SIZES = (Size(32, 32, "crop"), Size(96, 96, "crop"), Size(320, 240, "scale"), Size(800, 600, "scale"))


class Generous:
    per_second = 1000.0
    burst_count = 1000.0


def who(user_id: str = ALICE, **more: Any) -> Requester:
    return Requester(user_id, "DEVICE", user_id, **more)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


class Unending:
    """Sessions that never end."""

    async def check_again(self, requester: Requester, /) -> None: ...


class MediaHome:
    def __init__(
        self,
        database: Database,
        directory: Path,
        *,
        store: BlobStore | None = None,
        clock: Any = None,
        dynamic: bool = False,
        max_pixels: int = 4_000_000,
        **rules: Any,
    ) -> None:
        self.clock = clock or ReactorClock(reactor)
        self.database = database
        self.directory = directory
        self.bus = LocalBus()
        self.incoming = directory / "incoming"
        self.store = store or DirectoryStore(directory / "blobs")
        self.threads = MediaThreads(reactor, self.store, self.incoming)
        self.workers = MediaWorkers(reactor, ReactorClock(reactor), 2, seconds=600.0)
        self.library = Library(database, self.threads, self.clock, missing_counter(CollectorRegistry()))
        self.accesses = Accesses(database, self.clock)
        limits = {"max_bytes": 1_000_000, "quotas": (), "max_reserved": 3, "reserved_ms": 60_000}
        self.rules = UploadRules(server_name=SERVER, **{"authenticated": True, **limits, **rules})
        self.log = ChangeLog(database, EventStore(1000), self.bus, self.clock)
        database.on_commit(self.log.committed)
        self.media_rows = media_rows(database, self.log, 100)
        limiter = RateLimiter(self.clock, Generous())
        self.uploads = Uploads(self.library, self.media_rows, self.bus, Unending(), limiter, self.rules)
        self.downloads = Downloads(self.library, self.media_rows, self.bus, Unending(), self.accesses, SERVER)
        self.thumbnails = Thumbnails(
            self.library,
            self.downloads,
            self.store,
            self.workers,
            self.incoming,
            ThumbnailRules(SIZES, dynamic, max_pixels),
            self.log,
            remembered=100,
        )

    async def upload(
        self, data: bytes, *, user_id: str = ALICE, name: str | None = None, content_type: str = "text/plain"
    ) -> Mxc:
        body = chunks(*(data[at : at + 100_000] for at in range(0, len(data), 100_000)))
        return await self.uploads.upload(
            who(user_id), body, length=len(data), content_type=content_type, name=name
        )

    async def download(self, mxc: Mxc, **options: Any) -> bytes:
        _, content = await self.downloads.find(Wanted(mxc, **{"token_given": True, **options}))
        parts = await self.downloads.read(content, 0, content.size)
        return b"".join([part async for part in parts])

    async def thumbnail(
        self, mxc: Mxc, width: int, height: int, method: str = "scale", *, animated: bool = False
    ) -> tuple[str, bytes]:
        content = await self.thumbnails.find(
            Wanted(mxc, token_given=True), width, height, method, animated=animated
        )
        parts = await self.downloads.read(content, 0, content.size)
        return content.media_type, b"".join([part async for part in parts])

    def files(self) -> list[Path]:
        """Everything on the disk."""
        return sorted(path for path in self.directory.rglob("*") if path.is_file())

    async def rows(self, sql: str, *arguments: object) -> list[Any]:
        return await self.database.read(lambda txn: txn.rows(sql, arguments))


@asynccontextmanager
async def media_home(database: Database, directory: Path, **options: Any) -> AsyncIterator[MediaHome]:
    home = MediaHome(database, directory, **options)
    for user_id in (ALICE, BOB):
        await database.transact(create_account, NewAccount(user_id, 1))
    home.threads.start()
    home.workers.start()
    await home.log.start()
    try:
        yield home
    finally:
        home.log.stop()
        home.workers.stop()
        home.threads.stop()


def names(paths: Iterable[Path]) -> list[str]:
    return [path.name for path in paths]
