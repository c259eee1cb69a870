"""Other servers as destinations: whether they can be reached."""

from collections.abc import Collection, Mapping

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.long_lists import LongList, Order, Survey, nullable_first, read_page
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

_NAME = "d.server_name"
ORDERS: Mapping[str, Order] = {
    "destination": Order((_NAME,)),
    "retry_last_ts": Order(("d.failed_ts", _NAME)),
    "retry_interval": Order(("d.retry_interval", _NAME)),
    "failure_ts": Order((*nullable_first("d.failing_since", "0"), _NAME)),
    "last_successful_stream_ordering": Order((*nullable_first("d.sent_position", "0"), _NAME)),
}
"""By the names that the admin API has for them."""


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


_SHOWN = "d.server_name, d.failed_ts, d.retry_interval, d.failing_since, d.sent_position"
_ROOMS = "destination_rooms d JOIN rooms r USING (room_nid)"


def long_list(part: str, order_by: str, *, backwards: bool) -> LongList:
    """Those whose name holds the part, in one of `ORDERS`."""
    order = ORDERS[order_by].turned(backwards)
    if not part:
        return LongList("destinations d", "TRUE", order)
    return LongList(
        "destinations d", "lower(d.server_name) LIKE lower(%(part)s)", order, {"part": containing(part)}
    )


def list_destinations(
    txn: Transaction, wanted: LongList, survey: Survey, *, offset: int, limit: int
) -> list[Destination]:
    """A page of it."""
    return [Destination(*row) for row in read_page(txn, _SHOWN, wanted, survey, offset=offset, limit=limit)]


def find_destination(txn: Transaction, server_name: str) -> Destination | None:
    row = txn.row(f"SELECT {_SHOWN} FROM destinations d WHERE d.server_name = %s", (server_name,))
    return Destination(*row) if row else None


def long_list_of_rooms(server_name: str, *, backwards: bool) -> LongList:
    """Rooms of which the server was sent something, or is to be, by their ids."""
    order = Order(("r.room_id",)).turned(backwards)
    return LongList(_ROOMS, "d.server_name = %(server_name)s", order, {"server_name": server_name})


def list_rooms(
    txn: Transaction, wanted: LongList, survey: Survey, *, offset: int, limit: int
) -> list[tuple[str, int]]:
    """A page of it: with each room the position of the newest event for the server."""
    shown = "r.room_id, coalesce(d.missed_position, d.sent_position, 0)"
    rows = read_page(txn, shown, wanted, survey, offset=offset, limit=limit)
    return [(room_id, position) for room_id, position in rows]


def reset_backoff(txn: Transaction, server_name: str) -> bool:
    """Send to the server at once, as if it had never failed; False when it has not."""
    return bool(
        txn.execute(
            "UPDATE destinations SET failing_since = NULL, retry_at = 0, retry_interval = 0"
            " WHERE server_name = %s AND failing_since IS NOT NULL",
            (server_name,),
        )
    )
