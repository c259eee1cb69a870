"""Tasks about media: their rows, and the files of those that are cleaned up."""

from collections.abc import Sequence
from hashlib import sha256

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import files
from synapse_lite.storage.media.quarantine import Reason, quarantine
from synapse_lite.storage.media.told import Mxc
from synapse_lite.storage.tasks import TaskItem
from synapse_lite.tasks.actions.cleanup import CleanupParams
from synapse_lite.tasks.actions.delete_media import DELETE_MEDIA, DeleteMediaParams
from synapse_lite.tasks.actions.media_cleanup import CLEAN_MEDIA
from synapse_lite.tasks.actions.quarantine_media import CHANGED, QUARANTINE_MEDIA, QuarantineParams
from synapse_lite.tasks.queue import new_task
from tests.chaos.stage import Outcome, Stage, Subject, count
from tests.processes.site import SERVER

FILES = 2500
SIZE = 7
STORED = 1500
KEPT = 50
LATER_MS = 10**15


def shown(stage: Stage) -> Subject:
    """Each file is hidden once, with an entry of the change; those of others are shown."""
    user, other = stage.user("uploader"), stage.user("other")
    stage.do(upload, user, FILES)
    stage.do(upload, other, 10)

    def read(txn: Transaction) -> Outcome:
        quarantined = "media JOIN media_quarantine USING (origin, media_id) WHERE user_id = %s"
        changes = "media JOIN media_quarantine_changes USING (origin, media_id) WHERE user_id = %s"
        return {
            "hidden": count(txn, quarantined, user),
            "changes": count(txn, changes, user),
            "of others": count(txn, quarantined, other),
        }

    expected = {"hidden": FILES, "changes": FILES, "of others": 0}
    params = QuarantineParams(user_id=user)
    return Subject(QUARANTINE_MEDIA, params, expected, read, {"num_quarantined": FILES})


def uploaded(stage: Stage) -> Subject:
    """Each file is gone, and was counted once; those of others stay."""
    user, other = stage.user("uploader"), stage.user("other")
    stage.do(upload, user, FILES)
    stage.do(upload, other, 10)

    def read(txn: Transaction) -> Outcome:
        return {
            "left": count(txn, "media WHERE user_id = %s", user),
            "of others": count(txn, "media WHERE user_id = %s", other),
        }

    params = DeleteMediaParams(user_id=user, spares=False)
    result = {"deleted": FILES, "bytes": FILES * SIZE}
    return Subject(DELETE_MEDIA, params, {"left": 0, "of others": 10}, read, result)


def shown_again(stage: Stage) -> Subject:
    """What a task has hidden is shown again, each with an entry of its own; what was hidden before stays hidden."""
    user = stage.user("uploader")
    stage.do(upload, user, FILES)
    task_id = stage.do(hide, user, FILES // 5)

    def read(txn: Transaction) -> Outcome:
        changes = "media JOIN media_quarantine_changes USING (origin, media_id) WHERE user_id = %s"
        return {
            "hidden": count(
                txn, "media JOIN media_quarantine USING (origin, media_id) WHERE user_id = %s", user
            ),
            "changes": count(txn, f"{changes} AND NOT quarantined", user),
        }

    shown_ones = FILES - FILES // 5
    expected = {"hidden": FILES // 5, "changes": shown_ones}
    params = QuarantineParams(undo_of=task_id)
    return Subject(QUARANTINE_MEDIA, params, expected, read, {"num_quarantined": shown_ones})


def hide(txn: Transaction, user_id: str, before: int) -> str:
    """All media of a user, so many of them before a task, and the rest by it; its id."""
    media = [
        tuple(row) for row in txn.rows("SELECT origin, media_id FROM media WHERE user_id = %s", (user_id,))
    ]
    task = new_task(QUARANTINE_MEDIA, QuarantineParams(user_id=user_id), requester=user_id, endpoint="chaos")
    store.enqueue(txn, task)
    txn.execute(
        "UPDATE scheduled_tasks SET status = 'complete', finished_at = now_ms() WHERE id = %s", (task.id,)
    )
    _hide(txn, media[:before], user_id)
    store.record_items(txn, task.id, [TaskItem(f"mxc://{o}/{m}", CHANGED, None) for o, m in media[before:]])
    _hide(txn, media[before:], user_id)
    return task.id


def _hide(txn: Transaction, media: Sequence[Mxc], user_id: str) -> None:
    quarantine(txn, media, Reason(user_id, "chaos", 1))


def copied(stage: Stage) -> Subject:
    """Copies of other servers' media go, and are counted once each; our own stay."""
    user = stage.user("uploader")
    stage.do(upload, user, 10)
    stage.do(upload, user.replace(SERVER, "elsewhere.test"), FILES, "elsewhere.test")

    def read(txn: Transaction) -> Outcome:
        return {
            "left": count(txn, "media WHERE origin = 'elsewhere.test'"),
            "ours": count(txn, "media WHERE user_id = %s", user),
        }

    params = DeleteMediaParams(remote=True, unused_since_ms=LATER_MS)
    result = {"deleted": FILES, "bytes": FILES * SIZE}
    return Subject(DELETE_MEDIA, params, {"left": 0, "ours": 10}, read, result)


def cleaned(stage: Stage) -> Subject:
    """Files that nothing refers to go with their rows; those that something refers to stay with theirs."""
    user = stage.user("uploader")
    stored = [_store(stage, f"{user} {number}") for number in range(STORED)]
    gone, kept = stored[KEPT:], stored[:KEPT]
    stage.do(_own, user, stored, gone)

    def on_disk(hashes: Sequence[bytes]) -> int:
        names = [one.hex() for one in hashes]
        return sum((stage.media / "blobs" / name[:2] / name[2:4] / name).exists() for name in names)

    def read(txn: Transaction) -> Outcome:
        return {
            "files": on_disk(gone),
            "rows": count(txn, "media_blobs WHERE sha256 = ANY(%s)", gone),
            "kept files": on_disk(kept),
            "kept rows": count(
                txn, "media_blobs WHERE sha256 = ANY(%s) AND stored AND check_ts IS NULL", kept
            ),
        }

    expected = {"files": 0, "rows": 0, "kept files": KEPT, "kept rows": KEPT}
    return Subject(CLEAN_MEDIA, CleanupParams(), expected, read)


def _store(stage: Stage, text: str) -> bytes:
    """Bytes in the directory, durable or not."""
    data = text.encode()
    name = sha256(data).hexdigest()
    path = stage.media / "blobs" / name[:2] / name[2:4] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return bytes.fromhex(name)


def _own(txn: Transaction, user_id: str, stored: Sequence[bytes], gone: Sequence[bytes]) -> None:
    """All are uploaded, and those of `gone` deleted."""
    txn.insert(
        "INSERT INTO media_blobs (sha256, size, stored) VALUES %s", [(one, SIZE, True) for one in stored]
    )
    txn.insert(
        "INSERT INTO media (origin, media_id, sha256, size, user_id, created_ts, authenticated) VALUES %s",
        [(SERVER, one.hex(), one, SIZE, user_id, 1, True) for one in stored],
    )
    nids = [nid for (nid,) in txn.rows("SELECT media_nid FROM media WHERE sha256 = ANY(%s)", (list(gone),))]
    files.delete(txn, nids, 1)


def upload(txn: Transaction, user_id: str, number: int, server: str = SERVER) -> None:
    """Each with content of its own."""
    txn.execute(
        "WITH blobs AS (INSERT INTO media_blobs (sha256, size, stored)"
        " SELECT sha256(convert_to(%(user)s || n, 'UTF8')), %(size)s, TRUE FROM generate_series(1, %(number)s) AS n"
        " RETURNING sha256, size)"
        " INSERT INTO media (origin, media_id, sha256, size, user_id, created_ts, authenticated)"
        " SELECT %(server)s, encode(sha256, 'hex'), sha256, size, %(user)s, 1, TRUE FROM blobs",
        {"user": user_id, "number": number, "size": SIZE, "server": server},
    )
