"""Bytes by their SHA-256: who stores them, who needs them, and when they may go.

The order is: `hold` (the row), the bytes, then what refers to them together with `confirm`. Whoever dies in
between leaves a row whose `check_ts` passes, and with it the bytes are found and deleted.
"""

from collections.abc import Sequence

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media.told import tell

HOLD_MS = 3600 * 1000
"""The longest that storing may take between `hold` and `confirm`."""

_REFERRED = """
EXISTS (SELECT FROM media WHERE media.sha256 = b.sha256)
OR EXISTS (SELECT FROM media_thumbnails t WHERE t.sha256 = b.sha256 AND t.source <> b.sha256)
"""


def hold(txn: Transaction, sha256: bytes, size: int, now_ms: int) -> bool:
    """Keep the bytes, or the place for them, from deletion for `HOLD_MS`; whether the store has them.

    Waits while a cleanup deletes them.
    """
    stored: bool = txn.value(
        "INSERT INTO media_blobs (sha256, size, check_ts) VALUES (%s, %s, %s) ON CONFLICT (sha256) DO UPDATE"
        " SET check_ts = CASE WHEN media_blobs.check_ts IS NULL THEN NULL"
        " ELSE greatest(media_blobs.check_ts, EXCLUDED.check_ts) END RETURNING stored",
        (sha256, size, now_ms + HOLD_MS),
    )
    return stored


def confirm(txn: Transaction, sha256: bytes, now_ms: int) -> bool:
    """The store has the bytes, and this transaction refers to them. False: they were deleted meanwhile."""
    return (
        txn.execute(
            "UPDATE media_blobs SET stored = true, check_ts = NULL WHERE sha256 = %s"
            " AND (stored OR check_ts > %s)",
            (sha256, now_ms),
        )
        == 1
    )


def release(txn: Transaction, sha256s: Sequence[bytes], now_ms: int) -> None:
    """One reference less: a cleanup is to look whether any is left."""
    if sha256s:
        txn.execute(
            "UPDATE media_blobs SET check_ts = %s WHERE sha256 = ANY(%s) AND check_ts IS NULL",
            (now_ms, sorted(set(sha256s))),
        )


def adopt(txn: Transaction, found: Sequence[tuple[bytes, int]], now_ms: int) -> int:
    """Bytes that the store has and no row knows, as (hash, size), get rows that a cleanup finds; how many."""
    return len(
        txn.fetch_values(
            "INSERT INTO media_blobs (sha256, size, stored, check_ts) VALUES %s"
            " ON CONFLICT DO NOTHING RETURNING 1",
            [(sha256, size, True, now_ms) for sha256, size in found],
        )
    )


def needed_with(txn: Transaction, first: int) -> list[bytes]:
    """Hashes that begin with the byte `first`, of what the store has confirmed and something refers to."""
    above = "" if first == 0xFF else "AND sha256 < %(end)s"  # noqa: PLR2004 (the last byte)
    rows = txn.rows(
        f"SELECT sha256 FROM media_blobs WHERE stored AND check_ts IS NULL AND sha256 >= %(start)s {above}",
        {"start": bytes([first]), "end": bytes([min(first + 1, 0xFF)])},
    )
    return [bytes(sha256) for (sha256,) in rows]


def names_of(txn: Transaction, sha256s: Sequence[bytes]) -> dict[bytes, str]:
    """An mxc URI of each; thumbnails have none."""
    rows = txn.rows(
        "SELECT DISTINCT ON (sha256) sha256, 'mxc://' || origin || '/' || media_id FROM media"
        " WHERE sha256 = ANY(%s) ORDER BY sha256, media_nid",
        (list(sha256s),),
    )
    return {bytes(sha256): name for sha256, name in rows}


def pick_unreferenced(txn: Transaction, now_ms: int, limit: int) -> tuple[list[bytes], bool]:
    """Hashes whose bytes may be deleted in this transaction, and whether anything else was done.

    What is found for the first time is only marked as not stored: should the deletion be cut short, nobody
    takes the bytes for granted. The rows stay locked, so that `hold` waits.
    """
    rows = txn.rows(
        f"SELECT b.sha256, b.stored, {_REFERRED} FROM media_blobs b WHERE check_ts <= %s"
        " ORDER BY check_ts LIMIT %s FOR UPDATE OF b SKIP LOCKED",
        (now_ms, limit),
    )
    needed = [bytes(sha256) for sha256, _, referred in rows if referred]
    marked = [bytes(sha256) for sha256, stored, referred in rows if stored and not referred]
    if needed:
        txn.execute("UPDATE media_blobs SET check_ts = NULL WHERE sha256 = ANY(%s)", (needed,))
    if marked:
        txn.execute("UPDATE media_blobs SET stored = false WHERE sha256 = ANY(%s)", (marked,))
    doomed = [bytes(sha256) for sha256, stored, referred in rows if not stored and not referred]
    return doomed, bool(needed or marked)


def delete(txn: Transaction, sha256s: Sequence[bytes], now_ms: int) -> None:
    """The rows of deleted bytes; their thumbnails go with them."""
    release(txn, thumbnails_of(txn, sha256s), now_ms)
    txn.execute("DELETE FROM media_blobs WHERE sha256 = ANY(%s)", (list(sha256s),))
    tell(txn, hashes=sha256s)


def thumbnails_of(txn: Transaction, sha256s: Sequence[bytes]) -> list[bytes]:
    return [
        bytes(sha256)
        for (sha256,) in txn.rows(
            "SELECT DISTINCT sha256 FROM media_thumbnails WHERE source = ANY(%s) AND sha256 <> source",
            (list(sha256s),),
        )
    ]


def size_of(txn: Transaction, sha256: bytes) -> int | None:
    size: int | None = txn.value("SELECT size FROM media_blobs WHERE sha256 = %s", (sha256,))
    return size


def write_image_error(txn: Transaction, sha256: bytes, error: str) -> None:
    txn.execute("UPDATE media_blobs SET image_error = %s WHERE sha256 = %s", (error, sha256))
    tell(txn, hashes=[sha256])
