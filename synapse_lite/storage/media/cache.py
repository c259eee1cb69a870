"""How much there is of other servers' media, by the day of their last use."""

from synapse_lite.storage.database import Transaction

DAY_MS = 24 * 3600 * 1000

_USES = """
SELECT media_nid, coalesce(last_access_ts, created_ts) / %(day)s, size,
    origin <> %(server)s AND sha256 IS NOT NULL AND url_cache IS NULL
FROM media WHERE media_nid > %(after)s ORDER BY media_nid LIMIT %(limit)s
"""


def used_by_day(
    txn: Transaction, server_name: str, after: int, limit: int
) -> tuple[dict[int, int], int | None]:
    """Bytes of copies by day (since 1970), among the next `limit` media; and where to go on, None at the end."""
    rows = txn.rows(_USES, {"day": DAY_MS, "server": server_name, "after": after, "limit": limit})
    days: dict[int, int] = {}
    for _, day, size, is_copy in rows:
        if is_copy:
            days[day] = days.get(day, 0) + size
    return days, rows[-1][0] if len(rows) == limit else None
