"""Media as operators list them: of a user, and how much each user has uploaded."""

from collections.abc import Mapping
from contextlib import nullcontext

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.long_lists import LongList, Order, Survey, nullable, nullable_first, read_page
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

_UPLOADER = "s.user_id"
USER_ORDERS: Mapping[str, Order] = {
    "user_id": Order((_UPLOADER,)),
    "displayname": Order((*nullable("u.displayname", "''"), _UPLOADER)),
    "media_length": Order(("s.media_length", _UPLOADER)),
    "media_count": Order(("s.media_count", _UPLOADER)),
}
"""Sums are kept (0053). Within bounds of time they are made: by `user_id` of those that a page skips or shows, else of all."""


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

    @property
    def is_bounded(self) -> bool:
        return self.from_ms > 0 or self.until_ms is not None


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


def statistics_list(wanted: StatisticsFilter, order: str, *, backwards: bool) -> LongList:
    """Who has uploaded something. `order` is one of `USER_ORDERS`."""
    arguments: dict[str, object] = {}
    uploads, condition, counted = "uploads", "TRUE", None
    if wanted.is_bounded:
        uploads = _uploads_within(wanted, arguments, backwards=backwards)
    elif wanted.search_term is None:
        counted = "uploads"
    if wanted.search_term is not None:
        arguments["term"] = f"%{_literal(wanted.search_term)}%"
        condition = f"({_UPLOADER} ILIKE %(term)s OR u.displayname ILIKE %(term)s)"
    # OFFSET: looked up for each, not joined with all users of the server.
    users = (
        "LEFT JOIN LATERAL (SELECT displayname FROM users WHERE user_id = s.user_id OFFSET 0) AS u ON TRUE"
    )
    return LongList(
        f"{uploads} AS s {users}",
        condition,
        USER_ORDERS[order].turned(backwards),
        arguments,
        counted=counted,
    )


def _uploads_within(wanted: StatisticsFilter, arguments: dict[str, object], *, backwards: bool) -> str:
    """As the table `uploads`, of what was uploaded in that time."""
    arguments["since"] = wanted.from_ms
    within = "created_ts >= %(since)s"
    if wanted.until_ms is not None:
        arguments["until"] = wanted.until_ms
        within += " AND created_ts <= %(until)s"
    return (
        "(SELECT user_id, count(*) AS media_count, sum(size)::bigint AS media_length FROM media"
        f" WHERE user_id IS NOT NULL AND size IS NOT NULL AND {within}"
        # Sorted in here, too: else groups are made in one direction only, and for the other one all of them.
        f" GROUP BY user_id ORDER BY user_id {'DESC' if backwards else 'ASC'})"
    )


def read_statistics(
    txn: Transaction, wanted: LongList, survey: Survey, *, offset: int, limit: int
) -> list[UploadStatistics]:
    """A page of it."""
    columns = f"{_UPLOADER}, u.displayname, s.media_count, s.media_length"
    by_user = wanted.order.columns == (_UPLOADER,)
    with txn.on_indexes() if by_user else nullcontext():
        rows = read_page(txn, columns, wanted, survey, offset=offset, limit=limit)
    return [UploadStatistics(*row) for row in rows]


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
