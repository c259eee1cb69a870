"""Other servers as destinations: whether they can be reached."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.patterns import containing

PATIENCE_MS = 30_000
"""Who speaks to us is tried again, unless that was just done: they may hear nothing all the same."""


def try_again(txn: Transaction, server_name: str, now_ms: int) -> bool:
    """The server has spoken to us. True: it was left alone, and may be sent to now."""
    return bool(
        txn.execute(
            "UPDATE destinations SET retry_at = 0 WHERE server_name = %s AND failing_since IS NOT NULL"
            " AND retry_at > %s AND attempted_ts < %s",
            (server_name, now_ms, now_ms - PATIENCE_MS),
        )
    )


def left_alone(txn: Transaction, servers: Collection[str], now_ms: int) -> set[str]:
    """Those of the servers that did not answer lately, and whose time has not come yet."""
    rows = txn.rows(
        "SELECT server_name FROM destinations WHERE server_name = ANY(%s) AND failing_since IS NOT NULL"
        " AND retry_at > %s",
        (list(servers), now_ms),
    )
    return {name for (name,) in rows}


def forget_destinations(txn: Transaction, failing_before_ms: int, limit: int) -> int:
    """Servers with which no room is shared any more, and for which nothing waits; what waits since then is given up."""
    rows = txn.rows(
        "DELETE FROM destinations WHERE server_name IN (SELECT server_name FROM destinations d"
        " WHERE (NOT pending OR failing_since < %s) AND leased_until < clock_timestamp() AND NOT EXISTS ("
        "  SELECT FROM destination_rooms r JOIN memberships m ON m.room_nid = r.room_nid"
        "   AND m.server_name = d.server_name AND m.membership = 'join' WHERE r.server_name = d.server_name)"
        " AND NOT EXISTS (SELECT FROM outgoing_events o JOIN memberships m ON m.room_nid = o.room_nid"
        "   AND m.server_name = d.server_name AND m.membership = 'join' WHERE o.server_name = d.server_name)"
        " ORDER BY server_name LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING server_name",
        (failing_before_ms, limit),
    )
    names = [name for (name,) in rows]
    for table in ("outgoing_events", "outgoing_edus", "destination_rooms"):
        txn.execute(f"DELETE FROM {table} WHERE server_name = ANY(%s)", (names,))
    return len(names)


# What administrators see

ORDERS = {
    "destination": "server_name",
    "retry_last_ts": "retry_last_ts",
    "retry_interval": "retry_interval",
    "failure_ts": "failing_since",
    "last_successful_stream_ordering": "sent_position",
}
"""Columns by the names that the admin API has for them."""


@frozen
class Destination:
    """Times are milliseconds; `retry_last_ts` and `retry_interval` 0, `failing_since` None: the last attempt succeeded.

    `sent_position` is that of the newest event that was sent.
    """

    server_name: str
    retry_last_ts: int
    retry_interval: int
    failing_since: int | None
    sent_position: int | None


_SHOWN = (
    "SELECT server_name, CASE WHEN failing_since IS NULL THEN 0 ELSE attempted_ts END AS retry_last_ts,"
    " retry_interval, failing_since, sent_position FROM destinations"
)


def find_destinations(
    txn: Transaction, part: str, order: str, *, backwards: bool, offset: int, limit: int
) -> tuple[list[Destination], int]:
    """Those whose name holds the part, ordered by a key of `ORDERS`; and how many there are in all."""
    pattern = containing(part)
    way = "DESC NULLS LAST" if backwards else "ASC NULLS FIRST"
    rows = txn.rows(
        f"SELECT * FROM ({_SHOWN} WHERE lower(server_name) LIKE %s) AS found"
        f" ORDER BY {ORDERS[order]} {way}, server_name {way} OFFSET %s LIMIT %s",
        (pattern, offset, limit),
    )
    total = txn.value("SELECT count(*) FROM destinations WHERE lower(server_name) LIKE %s", (pattern,))
    return [Destination(*row) for row in rows], int(total)


def find_destination(txn: Transaction, server_name: str) -> Destination | None:
    row = txn.row(f"{_SHOWN} WHERE server_name = %s", (server_name,))
    return Destination(*row) if row else None


def rooms_of_destination(
    txn: Transaction, server_name: str, *, backwards: bool, offset: int, limit: int
) -> tuple[list[tuple[str, int]], int]:
    """Rooms of which the server was sent something, or is to be, with the position of the newest event for it; how many."""
    rows = txn.rows(
        "SELECT room_id, coalesce(missed_position, sent_position, 0) FROM destination_rooms JOIN rooms USING (room_nid)"
        f" WHERE server_name = %s ORDER BY room_id {'DESC' if backwards else 'ASC'} OFFSET %s LIMIT %s",
        (server_name, offset, limit),
    )
    total = txn.value("SELECT count(*) FROM destination_rooms WHERE server_name = %s", (server_name,))
    return [(room_id, position) for room_id, position in rows], int(total)


def reset_backoff(txn: Transaction, server_name: str) -> bool:
    """Send to the server at once, as if it had never failed; False when it has not."""
    return bool(
        txn.execute(
            "UPDATE destinations SET failing_since = NULL, retry_at = 0, retry_interval = 0"
            " WHERE server_name = %s AND failing_since IS NOT NULL",
            (server_name,),
        )
    )
