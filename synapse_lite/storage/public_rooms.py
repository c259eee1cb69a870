"""The directory of public rooms: pages of it, found by text and type."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.patterns import containing
from synapse_lite.storage.room_summary import RoomSummary, read_summaries


@frozen
class DirectorySearch:
    """`term`: part of name, topic or canonical alias, in whatever case. `room_types`: None among them are rooms
    without a type; None instead of them, any.
    """

    term: str | None = None
    room_types: Sequence[str | None] | None = None


@frozen
class DirectoryPlace:
    """Between two rooms: after the one with so many joined members and this nid, or before it."""

    joined: int
    room_nid: int
    backwards: bool = False


# Rooms that nobody could enter or look into would be a list of closed doors.
_LISTED = (
    "rooms r JOIN room_summary s USING (room_nid) WHERE r.is_public AND NOT r.purging AND s.joined > 0"
    " AND (s.join_rule IN ('public', 'knock', 'knock_restricted') OR s.history_visibility = 'world_readable')"
)


def list_public(
    txn: Transaction, search: DirectorySearch, place: DirectoryPlace | None, limit: int
) -> tuple[list[RoomSummary], int]:
    """The next rooms, those with the most members first; before a place: the last ones before it, in that order.

    And how many there are in all: both from one look at the directory.
    """
    condition, arguments = _condition(search)
    backwards = place is not None and place.backwards
    beyond = ""
    if place is not None:
        beyond = f" WHERE (joined, room_nid) {'>' if backwards else '<'} (%(joined)s, %(room_nid)s)"
        arguments |= {"joined": place.joined, "room_nid": place.room_nid}
    direction = "ASC" if backwards else "DESC"
    order = f"ORDER BY joined {direction}, room_nid {direction}"
    rows = txn.rows(
        f"WITH listed AS MATERIALIZED (SELECT s.joined, r.room_nid FROM {_LISTED}{condition})"
        " SELECT total, room_nid FROM (SELECT count(*) AS total FROM listed) AS t"
        f" LEFT JOIN (SELECT joined, room_nid FROM listed{beyond} {order} LIMIT %(limit)s) AS page ON TRUE {order}",
        {**arguments, "limit": limit},
    )
    nids = [nid for _, nid in rows if nid is not None]
    found = read_summaries(txn, nids)
    return [found[nid] for nid in (reversed(nids) if backwards else nids)], rows[0][0]


def _condition(search: DirectorySearch) -> tuple[str, dict[str, object]]:
    conditions = ""
    arguments: dict[str, object] = {}
    if search.term:
        conditions += (
            " AND (lower(s.name) LIKE %(term)s OR lower(s.topic) LIKE %(term)s"
            " OR lower(s.canonical_alias) LIKE %(term)s)"
        )
        arguments["term"] = containing(search.term)
    if search.room_types is not None:
        conditions += " AND (s.room_type = ANY(%(types)s) OR (s.room_type IS NULL AND %(untyped)s))"
        arguments["types"] = [name for name in search.room_types if name is not None]
        arguments["untyped"] = None in search.room_types
    return conditions, arguments
