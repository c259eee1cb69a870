"""Thumbnails: made when they are first asked for, kept by the bytes that they are made of."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen

from synapse_lite.errors import Errcode, MatrixError, too_large
from synapse_lite.handlers.media.downloads import Content, Downloads, Wanted
from synapse_lite.handlers.media.library import RETRY_MS, Library, unavailable
from synapse_lite.handlers.media.remembered import Remembered
from synapse_lite.http.flights import Flights
from synapse_lite.ids import random_text
from synapse_lite.media.incoming import Received, adopt
from synapse_lite.media.store import BlobMissingError, BlobStore, StoreError
from synapse_lite.media.workers import JobFailedError, MediaWorkers, PoolBusyError
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import blobs, thumbnails
from synapse_lite.storage.media.thumbnails import Box, Thumbnail

logger = logging.getLogger(__name__)

LADDER = (32, 64, 96, 160, 240, 320, 480, 640, 800, 1024, 1600)
"""Sides (pixels) of the thumbnails that are made of any size that is asked for."""

TOO_LARGE = "too large: "


@frozen
class Size:
    width: int
    height: int
    method: str


@frozen
class ThumbnailRules:
    """`sizes`: those that are made, unless `dynamic`, when the next step of the ladder is."""

    sizes: Sequence[Size]
    dynamic: bool
    max_pixels: int


class Thumbnails:
    def __init__(
        self,
        library: Library,
        downloads: Downloads,
        store: BlobStore,
        workers: MediaWorkers,
        directory: Path,
        rules: ThumbnailRules,
        log: ChangeLog,
        remembered: int,
    ) -> None:
        """`directory`: where the workers write, beside what is being uploaded. The rows of so many are `remembered`."""
        self._library = library
        self._downloads = downloads
        self._store = store
        self._workers = workers
        self._directory = directory
        self._rules = rules
        self._making: Flights[tuple[bytes, Box], Thumbnail] = Flights()
        self._rows: Remembered[tuple[bytes, Box], Thumbnail | str] = Remembered(
            log, self._read, _source_of, remembered
        )
        log.listen(self._rows.on_changes)

    async def find(self, wanted: Wanted, width: int, height: int, method: str, *, animated: bool) -> Content:
        """As `Downloads.find`; 400 `M_UNKNOWN` for what is no picture, 413 for too large a one, 503 when busy."""
        media, content = await self._downloads.find(wanted)
        box = choose_box(self._rules, width, height, method, animated=animated)
        thumbnail = await self._kept(content.sha256, box)
        if thumbnail is None:
            thumbnail = await self._made(content, box)
            await self._downloads.find(wanted)  # it may have been hidden or deleted meanwhile
        return Content(thumbnail.media_type, media.upload_name, thumbnail.sha256, thumbnail.size)

    async def _kept(self, source: bytes, box: Box) -> Thumbnail | None:
        found = await self._rows.of((source, box))
        if isinstance(found, str):
            raise _impossible(found)
        return found

    async def _read(self, key: tuple[bytes, Box]) -> Thumbnail | str | None:
        return await self._library.database.read(thumbnails.read_thumbnail, *key)

    async def _made(self, content: Content, box: Box) -> Thumbnail:
        """By one for all who ask at once."""
        source = content.sha256
        make = partial(self._making.join, (source, box), partial(self._make, source, box))
        try:
            return await make()
        except BlobMissingError as error:
            self._library.note_missing(error)
            await self._downloads.fetch_again(content)
            return await make()

    async def _make(self, source: bytes, box: Box) -> Thumbnail:
        target = self._directory / f"thumbnail-{random_text(16)}"
        try:
            answer = await self._run(source, box, target)
            if "error" in answer:
                await self._refuse(source, answer)
            if answer["is_source"]:
                return await self._keep_source(source, box, answer["media_type"])
            received = await self._library.threads.run(adopt, target)
            thumbnail = Thumbnail(answer["media_type"], received.sha256, received.size)
            await self._library.keep(received, self._add, source, box, thumbnail)
        except BlobMissingError:
            raise
        except StoreError as error:
            raise unavailable(error) from None
        finally:
            self._library.threads.discard(Received(target, b"", 0))
        return thumbnail

    async def _run(self, source: bytes, box: Box, target: Path) -> dict[str, Any]:
        job = {
            "job": "thumbnail",
            "target": str(target),
            "width": box.width,
            "height": box.height,
            "crop": box.method == "crop",
            "animated": box.animated,
            "max_pixels": self._rules.max_pixels,
        }
        file = self._store.as_file(source, self._directory)
        path = await self._library.threads.run(file.__enter__)
        try:
            return dict(await self._workers.run({**job, "source": str(path)}))
        except JobFailedError as error:
            return {"error": str(error), "too_large": True}
        except PoolBusyError as error:
            raise MatrixError(503, Errcode.UNKNOWN, str(error), {"retry_after_ms": RETRY_MS}) from None
        finally:
            await self._library.threads.run(file.__exit__, None, None, None)

    async def _refuse(self, source: bytes, answer: dict[str, Any]) -> None:
        """Remembered with the bytes: nobody decodes them again. But what the disk did is not about them."""
        if answer.get("is_passing"):
            raise StoreError(answer["error"])
        reason = f"{TOO_LARGE if answer['too_large'] else ''}{answer['error']}"
        logger.info("media: no thumbnail of %s: %s", source.hex(), reason)
        await self._library.database.transact(blobs.write_image_error, source, reason)
        raise _impossible(reason)

    async def _keep_source(self, source: bytes, box: Box, media_type: str) -> Thumbnail:
        return await self._library.database.transact(self._add_source, source, box, media_type)

    def _add_source(self, txn: Transaction, source: bytes, box: Box, media_type: str) -> Thumbnail:
        thumbnail = Thumbnail(media_type, source, blobs.size_of(txn, source) or 0)
        self._add(txn, source, box, thumbnail)
        return thumbnail

    def _add(self, txn: Transaction, source: bytes, box: Box, thumbnail: Thumbnail) -> bool:
        return thumbnails.add_thumbnail(txn, source, box, thumbnail, self._library.clock.now_ms())


def _source_of(key: tuple[bytes, Box], _found: Thumbnail | str) -> bytes:
    source, _ = key
    return source


def choose_box(rules: ThumbnailRules, width: int, height: int, method: str, *, animated: bool) -> Box:
    """The smallest of few sizes that is no smaller than what is asked for, or the largest that there is."""
    if not rules.dynamic:
        size = _nearest(rules.sizes, width, height, method)
        return Box(size.width, size.height, size.method, animated)
    if method == "crop":
        return Box(_step(width), _step(height), method, animated)
    side = _step(max(width, height))
    return Box(side, side, method, animated)


def _nearest(sizes: Sequence[Size], width: int, height: int, method: str) -> Size:
    of_method = [size for size in sizes if size.method == method] or list(sizes)
    ordered = sorted(of_method, key=lambda size: size.width * size.height)
    return next((size for size in ordered if size.width >= width and size.height >= height), ordered[-1])


def _step(side: int) -> int:
    return next((step for step in LADDER if step >= side), LADDER[-1])


def _impossible(reason: str) -> MatrixError:
    if reason.startswith(TOO_LARGE):
        text = f"The content is too large to make a thumbnail of: {reason.removeprefix(TOO_LARGE)}"
        return too_large(text)
    return MatrixError(400, Errcode.UNKNOWN, f"There is no thumbnail of the content: {reason}")
