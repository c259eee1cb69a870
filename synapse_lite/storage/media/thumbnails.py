"""Thumbnails, by the bytes that they are made of: media with equal bytes share them."""

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import blobs
from synapse_lite.storage.media.told import tell


@frozen
class Box:
    """What is asked for, rounded to one of few sizes. `method` is `crop` or `scale`."""

    width: int
    height: int
    method: str
    animated: bool


@frozen
class Thumbnail:
    """`sha256` is that of the source when the source itself serves as its thumbnail."""

    media_type: str
    sha256: bytes
    size: int


def read_thumbnail(txn: Transaction, source: bytes, box: Box) -> Thumbnail | str | None:
    """A text is the reason why there can be none."""
    row = txn.row(
        "SELECT b.image_error, t.media_type, t.sha256, t.size FROM media_blobs b LEFT JOIN media_thumbnails t"
        " ON t.source = b.sha256 AND t.width = %s AND t.height = %s AND t.method = %s AND t.animated = %s"
        " WHERE b.sha256 = %s",
        (box.width, box.height, box.method, box.animated, source),
    )
    if row is None or row[0] is not None:
        return None if row is None else str(row[0])
    _, media_type, sha256, size = row
    return None if sha256 is None else Thumbnail(media_type, bytes(sha256), size)


def forget_lost(txn: Transaction, sha256: bytes, now_ms: int) -> bool:
    """Whether the bytes, which the store has lost, are a thumbnail: then it is made anew when it is asked for."""
    rows = txn.rows(
        "DELETE FROM media_thumbnails WHERE sha256 = %s AND source <> sha256 RETURNING source", (sha256,)
    )
    if rows:
        blobs.release(txn, [sha256], now_ms)
        tell(txn, hashes=list({bytes(source) for (source,) in rows}))
    return bool(rows)


def add_thumbnail(txn: Transaction, source: bytes, box: Box, thumbnail: Thumbnail, now_ms: int) -> bool:
    """False: the source or the bytes of the thumbnail were deleted meanwhile. One that is there already stays."""
    there = txn.row("SELECT FROM media_blobs WHERE sha256 = %s FOR KEY SHARE", (source,))
    if there is None or (thumbnail.sha256 != source and not blobs.confirm(txn, thumbnail.sha256, now_ms)):
        return False
    added = txn.execute(
        "INSERT INTO media_thumbnails (source, width, height, method, animated, media_type, sha256, size)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (
            source,
            box.width,
            box.height,
            box.method,
            box.animated,
            thumbnail.media_type,
            thumbnail.sha256,
            thumbnail.size,
        ),
    )
    if not added:
        blobs.release(txn, [thumbnail.sha256], now_ms)
    return True
