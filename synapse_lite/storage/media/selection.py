"""Media to delete or to hide in bulk, in order of their numbers: some rows at a call, whatever is chosen."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media.told import Mxc


@frozen
class Selection:
    """Which media: `origin` the server's name (`is_origin`: from it, else from all others), or of one user.

    `unused_since_ms`: neither used nor made since. With `spares`, what is protected or hidden stays, and with
    `keep_avatars` what a user, a member or a room has as its picture.
    """

    origin: str
    is_origin: bool = True
    user_id: str | None = None
    unused_since_ms: int | None = None
    larger_than: int = 0
    keep_avatars: bool = False
    spares: bool = True


@frozen
class Candidate:
    nid: int
    origin: str
    media_id: str
    size: int
    user_id: str | None
    chosen: bool

    @property
    def mxc(self) -> str:
        return f"mxc://{self.origin}/{self.media_id}"


_CANDIDATES = """
SELECT m.media_nid, m.origin, m.media_id, coalesce(m.size, 0), m.user_id,
    m.sha256 IS NOT NULL AND m.url_cache IS NULL AND (m.origin = %(origin)s) = %(is_origin)s
    AND coalesce(m.last_access_ts, m.created_ts) < coalesce(%(unused)s, 9223372036854775807)
    AND coalesce(m.size, 0) > %(larger)s
    AND NOT (%(spares)s AND (m.protected OR q.origin IS NOT NULL))
FROM media m LEFT JOIN media_quarantine q ON q.origin = m.origin AND q.media_id = m.media_id
WHERE m.media_nid > %(after)s {of_user} ORDER BY m.media_nid LIMIT %(limit)s
"""


def candidates(txn: Transaction, selection: Selection, after: int, limit: int) -> list[Candidate]:
    """The next rows that come into question; fewer than `limit` at the end."""
    arguments = {
        "origin": selection.origin,
        "is_origin": selection.is_origin,
        "unused": selection.unused_since_ms,
        "larger": selection.larger_than if selection.larger_than > 0 else -1,
        "spares": selection.spares,
        "after": after,
        "user": selection.user_id,
        "limit": limit,
    }
    of_user = "" if selection.user_id is None else "AND m.user_id = %(user)s"
    found = [Candidate(*row) for row in txn.rows(_CANDIDATES.format(of_user=of_user), arguments)]
    if not selection.keep_avatars:
        return found
    avatars = _avatars(txn, [one for one in found if one.chosen])
    return [one if one.mxc not in avatars else Candidate(*_but_chosen(one), chosen=False) for one in found]


def _but_chosen(one: Candidate) -> tuple[int, str, str, int, str | None]:
    return one.nid, one.origin, one.media_id, one.size, one.user_id


def named(txn: Transaction, media: Sequence[Mxc], *, spares: bool) -> list[Candidate]:
    """Those of these that are here, and with `spares` are neither protected nor hidden; all are chosen."""
    rows = txn.fetch_values(
        "SELECT m.media_nid, m.origin, m.media_id, coalesce(m.size, 0), m.user_id,"
        " m.protected OR q.origin IS NOT NULL FROM media m JOIN (VALUES %s) AS v (origin, media_id)"
        " ON m.origin = v.origin AND m.media_id = v.media_id"
        " LEFT JOIN media_quarantine q ON q.origin = m.origin AND q.media_id = m.media_id",
        list(media),
    )
    return [
        Candidate(nid, origin, media_id, size, user_id, chosen=True)
        for nid, origin, media_id, size, user_id, spared in rows
        if not (spares and spared)
    ]


def _avatars(txn: Transaction, found: Sequence[Candidate]) -> set[str]:
    """Those that are somebody's picture: a user's, a room's, or that of a member who uploaded it."""
    mxcs = [one.mxc for one in found]
    uploaders = sorted({one.user_id for one in found if one.user_id is not None})
    if not mxcs:
        return set()
    rows = txn.rows(
        "SELECT avatar_url FROM users WHERE avatar_url = ANY(%(mxcs)s)"
        " UNION SELECT avatar_url FROM room_summary WHERE avatar_url = ANY(%(mxcs)s)"
        " UNION SELECT e.json::jsonb #>> '{content,avatar_url}' FROM memberships"
        " JOIN events e USING (event_nid) WHERE memberships.user_id = ANY(%(uploaders)s)"
        " AND strpos(e.json, 'mxc://') > 0",
        {"mxcs": mxcs, "uploaders": uploaders},
    )
    return {avatar for (avatar,) in rows if avatar is not None}
