"""What belongs to nobody goes: expired reservations, bytes without a reference, files without a row."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from attrs import frozen

from synapse_lite.clock import Clock
from synapse_lite.media.incoming import delete_stale
from synapse_lite.media.store import BlobMissingError, BlobStore
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import blobs, fetches, files, previews
from synapse_lite.storage.tasks import TaskItem, record_items
from synapse_lite.tasks.actions.cleanup import Cleanup, Part, periodic_cleanup, until_none_left
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

EVERY_SECONDS = 900
AUDIT_SECONDS = 24 * 3600
AT_ONCE = 100
YOUNG_MS = 24 * 3600 * 1000
"""A file without a row is left alone for so long, and so is the picture of an expired preview."""

MISSING = "missing"
"""The outcome of an item: the hash of a file, with an mxc URI that needs it."""
MOST_MISSING = 1000
"""Of one step."""

logger = logging.getLogger(__name__)

CLEAN_MEDIA = periodic_cleanup("clean_media", EVERY_SECONDS)


@frozen
class MediaCleanup:
    """Deletes in the store what the rows of this transaction say: it is tried again until the store confirms."""

    clock: Clock
    store: BlobStore
    incoming: Path

    def parts(self) -> Mapping[str, Part]:
        return {
            "reservations": until_none_left(self.reservations),
            "fetches": until_none_left(self.fetches),
            "previews": until_none_left(self.previews),
            "blobs": self.blobs,
            "incoming": self.stale,
        }

    def reservations(self, txn: Transaction, limit: int) -> int:
        return files.delete_expired_reservations(txn, self.clock.now_ms(), limit)

    def fetches(self, txn: Transaction, limit: int) -> int:
        return fetches.delete_expired(txn, self.clock.now_ms(), limit)

    def previews(self, txn: Transaction, limit: int) -> int:
        return previews.delete_expired(txn, self.clock.now_ms() - YOUNG_MS, limit)

    def blobs(self, txn: Transaction, _after: int, limit: int) -> tuple[int, int | None]:
        now_ms = self.clock.now_ms()
        doomed, went_on = blobs.pick_unreferenced(txn, now_ms, min(limit, AT_ONCE))
        if doomed:
            self.store.delete(doomed)
            blobs.delete(txn, doomed, now_ms)
        return len(doomed), 0 if doomed or went_on else None

    def stale(self, _txn: Transaction, _after: int, _limit: int) -> tuple[int, int | None]:
        return delete_stale(self.incoming), None


def clean_media(clock: Clock, store: BlobStore, incoming: Path) -> Cleanup:
    return Cleanup(MediaCleanup(clock, store, incoming).parts())


class AuditParams(TaskModel):
    """None."""


class AuditCursor(TaskModel):
    """`prefix`: the first byte of the hashes that come next."""

    prefix: int = 0
    adopted: int = 0
    missing: int = 0


AUDIT_MEDIA = TaskSpec(
    action="audit_media",
    version=1,
    params=AuditParams,
    cursor=AuditCursor,
    lock=lambda _: "periodic:audit_media",
    needs_admin=False,
    every_seconds=AUDIT_SECONDS,
)


@frozen
class AuditMedia:
    """The step of `AUDIT_MEDIA`: rows and files are compared.

    Files that no row knows, as of a restored database, are handed to the cleanup. Those that rows need and the store
    does not have are the items of the task: nothing can bring them back but a backup.
    """

    clock: Clock
    store: BlobStore

    def step(self, txn: Transaction, task: TaskView[AuditParams, AuditCursor]) -> Outcome:
        cursor = task.cursor or AuditCursor()
        now_ms = self.clock.now_ms()
        found = list(self.store.walk(f"{cursor.prefix:02x}"))
        old = [(one.sha256, one.size) for one in found if one.modified_ms < now_ms - YOUNG_MS]
        adopted = cursor.adopted + (blobs.adopt(txn, old, now_ms) if old else 0)
        missing = self._missing(txn, cursor.prefix, {one.sha256 for one in found})
        names = blobs.names_of(txn, missing)
        record_items(txn, task.id, [TaskItem(one.hex(), MISSING, names.get(one)) for one in missing])
        count = cursor.missing + len(missing)
        if cursor.prefix == 0xFF:  # noqa: PLR2004 (the last one)
            if count:
                logger.warning(
                    "media: %d files are missing in the store; they are the items of task %s", count, task.id
                )
            return Done({"adopted": adopted, "missing": count}, done=len(old))
        return Next(AuditCursor(prefix=cursor.prefix + 1, adopted=adopted, missing=count), done=len(old))

    def _missing(self, txn: Transaction, prefix: int, found: Collection[bytes]) -> list[bytes]:
        """Looked at once more: what was just stored came after the walk."""
        absent = [sha256 for sha256 in blobs.needed_with(txn, prefix) if sha256 not in found]
        return [sha256 for sha256 in absent[:MOST_MISSING] if self._is_missing(sha256)]

    def _is_missing(self, sha256: bytes) -> bool:
        try:
            self.store.open(sha256).close()
        except BlobMissingError:
            return True
        return False
