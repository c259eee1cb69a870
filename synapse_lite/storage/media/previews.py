"""Previews of pages, until they expire; their pictures are media of their own."""

from hashlib import sha256

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import files


@frozen
class Preview:
    """`json`: what a client gets. `media_nid`: the picture in it."""

    url: str
    language: str
    json: str
    media_nid: int | None
    created_ts: int
    expires_ts: int


def read_preview(txn: Transaction, url: str, language: str, now_ms: int) -> str | None:
    """The JSON of one that has not expired."""
    json: str | None = txn.value(
        "SELECT json FROM url_previews WHERE url_sha256 = %s AND language = %s AND expires_ts > %s",
        (*_key(url, language), now_ms),
    )
    return json


def write_preview(txn: Transaction, preview: Preview) -> None:
    """In the place of an older one, also one that another process has just written; its picture goes with it."""
    while not (_add(txn, preview) or _replace(txn, preview)):
        pass  # the older one has just been deleted, as it had expired


def _add(txn: Transaction, preview: Preview) -> bool:
    """False where there is one already."""
    added = txn.execute(
        "INSERT INTO url_previews (url_sha256, language, json, media_nid, created_ts, expires_ts)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (*_key(preview.url, preview.language), *_values(preview)),
    )
    return added == 1


def _replace(txn: Transaction, preview: Preview) -> bool:
    """False where there is none."""
    key = _key(preview.url, preview.language)
    row = txn.row(
        "SELECT media_nid FROM url_previews WHERE url_sha256 = %s AND language = %s FOR UPDATE", key
    )
    if row is None:
        return False
    txn.execute(
        "UPDATE url_previews SET json = %s, media_nid = %s, created_ts = %s, expires_ts = %s"
        " WHERE url_sha256 = %s AND language = %s",
        (*_values(preview), *key),
    )
    (before,) = row
    if before is not None and before != preview.media_nid:
        files.delete(txn, [before], preview.created_ts)
    return True


def delete_expired(txn: Transaction, now_ms: int, limit: int) -> int:
    """How many previews; their pictures go with them."""
    rows = txn.rows(
        "DELETE FROM url_previews WHERE (url_sha256, language) IN (SELECT url_sha256, language FROM url_previews"
        " WHERE expires_ts <= %s ORDER BY expires_ts LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING media_nid",
        (now_ms, limit),
    )
    files.delete(txn, [nid for (nid,) in rows if nid is not None], now_ms)
    return len(rows)


def _key(url: str, language: str) -> tuple[bytes, str]:
    return sha256(url.encode()).digest(), language


def _values(preview: Preview) -> tuple[str, int | None, int, int]:
    return preview.json, preview.media_nid, preview.created_ts, preview.expires_ts
