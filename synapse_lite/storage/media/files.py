"""Media by their mxc URI: reserved, uploaded, fetched, deleted."""

from collections.abc import Collection, Sequence
from typing import Any

from attrs import frozen

from synapse_lite.errors import SynapseLiteError
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media import blobs
from synapse_lite.storage.media.quarantine import hide_new
from synapse_lite.storage.media.told import tell
from synapse_lite.storage.prepared import Prepared


class FilledError(SynapseLiteError):
    """A reserved name that has its bytes already."""


class ExpiredError(SynapseLiteError):
    """A reserved name whose time is over."""


@frozen
class Media:
    """`sha256` and `size` are None while it is reserved; `quarantined_by` is None when it may be shown."""

    nid: int
    origin: str
    media_id: str
    sha256: bytes | None
    size: int | None
    user_id: str | None
    media_type: str | None
    upload_name: str | None
    created_ts: int
    last_access_ts: int | None
    expires_ts: int | None
    authenticated: bool
    protected: bool
    url_cache: str | None
    quarantined_by: str | None


@frozen
class NewMedia:
    """What is known of a file before it is there. `user_id` None: from another server, or of a preview."""

    origin: str
    media_id: str
    user_id: str | None
    media_type: str
    upload_name: str | None
    created_ts: int
    authenticated: bool
    url_cache: str | None = None


_OWN_COLUMNS = (
    "m.media_nid, m.origin, m.media_id, m.sha256, m.size, m.user_id, m.media_type, m.upload_name, m.created_ts,"
    " m.last_access_ts, m.expires_ts, m.authenticated, m.protected, m.url_cache"
)
COLUMNS = f"{_OWN_COLUMNS}, coalesce(q.quarantined_by, CASE WHEN NOT m.protected THEN h.quarantined_by END)"
QUARANTINE = (
    "LEFT JOIN media_quarantine q ON q.origin = m.origin AND q.media_id = m.media_id"
    " LEFT JOIN media_quarantined_hashes h ON h.sha256 = m.sha256"
)
WITH_QUARANTINE = f"media m {QUARANTINE}"


def read_media(txn: Transaction, origin: str, media_id: str) -> Media | None:
    name = (origin, media_id)
    return read_many(txn, [name]).get(name)


def read_many(txn: Transaction, names: Collection[tuple[str, str]]) -> dict[tuple[str, str], Media]:
    """By origin and media id; those that there are."""
    rows = txn.rows(_MANY, tuple(map(list, zip(*sorted(names), strict=True))))
    return {(media.origin, media.media_id): media for media in map(media_of, rows)}


_MANY = Prepared(
    "read_media",
    f"SELECT {_OWN_COLUMNS}, coalesce("
    "(SELECT quarantined_by FROM media_quarantine WHERE origin = m.origin AND media_id = m.media_id),"
    " (SELECT quarantined_by FROM media_quarantined_hashes WHERE sha256 = m.sha256 AND NOT m.protected))"
    " FROM unnest(%s::text[], %s::text[]) AS v (origin, media_id) CROSS JOIN LATERAL"
    " (SELECT * FROM media WHERE origin = v.origin AND media_id = v.media_id LIMIT 1) AS m",
)
"""By keys only, whatever the planner thinks of the sizes: it would rather join."""


def is_quarantined(txn: Transaction, origin: str, media_id: str) -> bool:
    """Also of media that are not there."""
    found = txn.value(
        "SELECT 1 FROM media_quarantine WHERE origin = %s AND media_id = %s", (origin, media_id)
    )
    return found is not None


def media_of(row: Sequence[Any]) -> Media:
    values = list(row)
    values[3] = None if row[3] is None else bytes(row[3])
    return Media(*values)


def add(txn: Transaction, new: NewMedia, sha256: bytes, size: int) -> Media | None:
    """Bytes that were held and are in the store become media. None: they were deleted meanwhile.

    An existing one of that name gets the bytes: a copy of another server's that was lost.
    """
    if not blobs.confirm(txn, sha256, new.created_ts):
        return None
    if new.user_id is None:
        _release_lost(txn, new, sha256)
    is_replaced = txn.value(
        "INSERT INTO media (origin, media_id, sha256, size, user_id, media_type, upload_name, created_ts,"
        " last_access_ts, authenticated, url_cache) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (origin, media_id) DO UPDATE SET sha256 = EXCLUDED.sha256, size = EXCLUDED.size,"
        " media_type = EXCLUDED.media_type, upload_name = EXCLUDED.upload_name RETURNING xmax <> 0",
        (
            new.origin,
            new.media_id,
            sha256,
            size,
            new.user_id,
            new.media_type,
            new.upload_name,
            new.created_ts,
            new.created_ts,
            new.authenticated,
            new.url_cache,
        ),
    )
    if is_replaced:
        tell(txn, [(new.origin, new.media_id)])
    return _with_bytes(txn, new)


def reserve(txn: Transaction, new: NewMedia, expires_ts: int, most: int) -> bool:
    """Reserve a name to be filled until `expires_ts`; False when the user has `most` such names already."""
    if new.user_id is not None:
        txn.row("SELECT FROM users WHERE user_id = %s FOR NO KEY UPDATE", (new.user_id,))
    pending = txn.value(
        "SELECT count(*) FROM media WHERE user_id = %s AND sha256 IS NULL AND expires_ts > %s",
        (new.user_id, new.created_ts),
    )
    if pending >= most:
        return False
    txn.execute(
        "INSERT INTO media (origin, media_id, user_id, created_ts, expires_ts, authenticated)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (new.origin, new.media_id, new.user_id, new.created_ts, expires_ts, new.authenticated),
    )
    return True


def fill(txn: Transaction, new: NewMedia, sha256: bytes, size: int) -> Media | None:
    """As `add`, for a reserved name: `FilledError`, `ExpiredError`. Made now, so that quotas count it now."""
    row = txn.row(
        "SELECT sha256 IS NOT NULL, expires_ts <= %s FROM media WHERE origin = %s AND media_id = %s FOR UPDATE",
        (new.created_ts, new.origin, new.media_id),
    )
    is_filled, is_expired = row or (False, True)
    if is_filled:
        raise FilledError(f"mxc://{new.origin}/{new.media_id} has bytes")
    if is_expired:
        raise ExpiredError(f"mxc://{new.origin}/{new.media_id} has expired")
    if not blobs.confirm(txn, sha256, new.created_ts):
        return None
    txn.execute(
        "UPDATE media SET sha256 = %s, size = %s, media_type = %s, upload_name = %s, created_ts = %s,"
        " last_access_ts = %s, expires_ts = NULL WHERE origin = %s AND media_id = %s",
        (
            sha256,
            size,
            new.media_type,
            new.upload_name,
            new.created_ts,
            new.created_ts,
            new.origin,
            new.media_id,
        ),
    )
    return _with_bytes(txn, new)


def uploaded_since(txn: Transaction, user_id: str, since_ms: int) -> int:
    """Bytes that the user uploaded after a time."""
    size = txn.value(
        "SELECT coalesce(sum(size), 0) FROM media WHERE user_id = %s AND created_ts > %s", (user_id, since_ms)
    )
    return int(size)


def delete(txn: Transaction, nids: Collection[int], now_ms: int) -> list[tuple[str, str]]:
    """Delete rows, and let a cleanup look at their bytes; (origin, media id) of those that were there."""
    rows = txn.rows(
        "DELETE FROM media WHERE media_nid = ANY(%s) RETURNING origin, media_id, sha256", (sorted(nids),)
    )
    blobs.release(txn, [bytes(sha256) for *_, sha256 in rows if sha256 is not None], now_ms)
    names = [(origin, media_id) for origin, media_id, _ in rows]
    tell(txn, names)
    return names


def _with_bytes(txn: Transaction, new: NewMedia) -> Media | None:
    """What has just been written: hidden when its bytes are. Whoever hides bytes waits for the row of them."""
    media = read_media(txn, new.origin, new.media_id)
    if media is None or media.quarantined_by is None:
        return media
    hide_new(txn, new.origin, new.media_id, new.created_ts)
    return read_media(txn, new.origin, new.media_id)


def _release_lost(txn: Transaction, new: NewMedia, sha256: bytes) -> None:
    """What another server gave us under this name before need not be what it gives us now."""
    before = txn.value(
        "SELECT sha256 FROM media WHERE origin = %s AND media_id = %s FOR UPDATE", (new.origin, new.media_id)
    )
    if before is not None and bytes(before) != sha256:
        blobs.release(txn, [bytes(before)], new.created_ts)


def delete_expired_reservations(txn: Transaction, now_ms: int, limit: int) -> int:
    return txn.execute(
        "DELETE FROM media WHERE media_nid IN (SELECT media_nid FROM media WHERE sha256 IS NULL"
        " AND expires_ts <= %s LIMIT %s FOR UPDATE SKIP LOCKED)",
        (now_ms, limit),
    )


def protect(txn: Transaction, origin: str, media_id: str, protected: bool) -> bool:
    """False: there is no such file."""
    changed = txn.execute(
        "UPDATE media SET protected = %s WHERE origin = %s AND media_id = %s", (protected, origin, media_id)
    )
    tell(txn, [(origin, media_id)])
    return changed > 0


def note_access(txn: Transaction, nids: Collection[int], now_ms: int) -> None:
    txn.execute("UPDATE media SET last_access_ts = %s WHERE media_nid = ANY(%s)", (now_ms, sorted(nids)))
