"""Media as operators list them: of a user, and how much each user has uploaded."""

from collections.abc import Mapping

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.long_lists import LongList, Order, Survey, nullable_first, read_page
from synapse_lite.storage.media.files import COLUMNS, WITH_QUARANTINE, Media, media_of

_NUMBER = "m.media_nid"
ORDERS: Mapping[str, Order] = {
    "media_id": Order(("m.media_id", _NUMBER)),
    "upload_name": Order((*nullable_first("m.upload_name", "''"), _NUMBER)),
    "created_ts": Order(("m.created_ts", _NUMBER)),
    "last_access_ts": Order((*nullable_first("m.last_access_ts", "0"), _NUMBER)),
    "media_length": Order(("coalesce(m.size, 0)", _NUMBER)),
    "media_type": Order((*nullable_first("m.media_type", "''"), _NUMBER)),
    "quarantined_by": Order((*nullable_first("q.quarantined_by", "''"), _NUMBER)),
    "safe_from_quarantine": Order(("m.protected", _NUMBER)),
}
"""The one by time has an index; the others look at all media of the user."""

USER_ORDERS: Mapping[str, str] = {
    "user_id": "user_id",
    "displayname": "displayname",
    "media_length": "media_length",
    "media_count": "media_count",
}


@frozen
class UploadStatistics:
    user_id: str
    displayname: str | None
    count: int
    size: int


@frozen
class StatisticsFilter:
    """`until_ms` None: no bound; `search_term` in the user id or display name, whatever its case."""

    from_ms: int = 0
    until_ms: int | None = None
    search_term: str | None = None


def user_list(user_id: str, order: str, *, backwards: bool) -> LongList:
    """What the user has uploaded. `order` is one of `ORDERS`."""
    source = "media m"
    if order == "quarantined_by":
        source += " LEFT JOIN media_quarantine q ON q.origin = m.origin AND q.media_id = m.media_id"
    return LongList(
        source,
        "m.user_id = %(user)s AND m.sha256 IS NOT NULL",
        ORDERS[order].turned(backwards),
        {"user": user_id},
    )


def list_user_media(
    txn: Transaction, wanted: LongList, survey: Survey, *, offset: int, limit: int
) -> list[Media]:
    """A page of it."""
    nids = [nid for (nid,) in read_page(txn, _NUMBER, wanted, survey, offset=offset, limit=limit)]
    rows = txn.rows(
        f"SELECT {COLUMNS} FROM {WITH_QUARANTINE} WHERE m.media_nid = ANY(%s) ORDER BY {wanted.order.sorting}",
        (nids,),
    )
    return [media_of(row) for row in rows]


def user_media_after(txn: Transaction, user_id: str, after: Media | None, limit: int) -> list[Media]:
    """What the user has uploaded, the oldest first, behind one of them."""
    place = (-1, -1) if after is None else (after.created_ts, after.nid)
    rows = txn.rows(
        f"SELECT {COLUMNS} FROM {WITH_QUARANTINE} WHERE m.user_id = %s AND m.sha256 IS NOT NULL"
        " AND (m.created_ts, m.media_nid) > (%s, %s) ORDER BY m.created_ts, m.media_nid LIMIT %s",
        (user_id, *place, limit),
    )
    return [media_of(row) for row in rows]


_STATISTICS = """
SELECT user_id, displayname, media_count, media_length, count(*) OVER () FROM (
    SELECT m.user_id, u.displayname, count(*) AS media_count, sum(m.size) AS media_length
    FROM media m LEFT JOIN users u USING (user_id)
    WHERE m.user_id IS NOT NULL AND m.size IS NOT NULL
        AND m.created_ts >= %(since)s AND m.created_ts <= coalesce(%(until)s, 9223372036854775807)
        AND (%(term)s IS NULL OR m.user_id ILIKE %(term)s OR u.displayname ILIKE %(term)s)
    GROUP BY m.user_id, u.displayname
) AS counted ORDER BY {order} {direction}, user_id {direction} OFFSET %(start)s LIMIT %(limit)s
"""


def read_statistics(
    txn: Transaction, wanted: StatisticsFilter, *, order: str, backwards: bool, start: int, limit: int
) -> tuple[list[UploadStatistics], int]:
    """A page, and how many users there are. `order` is one of `USER_ORDERS`."""
    text = _STATISTICS.format(order=USER_ORDERS[order], direction="DESC" if backwards else "ASC")
    rows = txn.rows(
        text,
        {
            "since": wanted.from_ms,
            "until": wanted.until_ms,
            "term": None if wanted.search_term is None else f"%{_literal(wanted.search_term)}%",
            "start": start,
            "limit": limit,
        },
    )
    found = [UploadStatistics(user_id, name, count, int(size)) for user_id, name, count, size, _ in rows]
    return found, rows[0][4] if rows else 0


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
