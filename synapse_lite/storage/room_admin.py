"""Rooms as operators see them: lists in any order, details, forward extremities."""

from collections.abc import Collection, Mapping

from attrs import frozen

from synapse_lite.storage.database import Transaction


@frozen
class RoomSearch:
    """`term`: part of the name or of the canonical alias' localpart, or the whole room id. None means any."""

    term: str | None = None
    public: bool | None = None
    empty: bool | None = None


@frozen
class RoomRow:
    """What is known about a room without its events."""

    room_nid: int
    room_id: str
    version: str
    creator: str
    is_public: bool
    joined: int
    joined_local: int
    state_events: int


@frozen
class Order:
    """An SQL expression about `rooms r`. `descends`: the greatest come first, unless turned round."""

    expression: str
    descends: bool = False


def _content(event_type: str, key: str) -> str:
    """A field of the room's current state event. PostgreSQL's text cannot hold NUL, which JSON can."""
    return (
        "(SELECT CASE WHEN strpos(e.json, '\\u0000') = 0 THEN e.json::json -> 'content' ->> "
        f"'{key}' END FROM current_state c JOIN events e USING (event_nid)"
        f" WHERE c.room_nid = r.room_nid AND c.type = '{event_type}' AND c.state_key = ''"
        " AND NOT EXISTS (SELECT FROM redactions d WHERE d.target_nid = e.event_nid AND d.applied))"
    )


_JOINED = "(SELECT count(*) FROM memberships m WHERE m.room_nid = r.room_nid AND m.membership = 'join')"
_JOINED_LOCAL = (
    "(SELECT count(*) FROM memberships m WHERE m.room_nid = r.room_nid AND m.membership = 'join'"
    " AND right(m.user_id, %(suffix_length)s) = %(suffix)s)"
)
_STATE_EVENTS = "(SELECT count(*) FROM current_state c WHERE c.room_nid = r.room_nid)"
_NAME = _content("m.room.name", "name")
_ALIAS = _content("m.room.canonical_alias", "alias")
_JOINED_MEMBERS = Order(_JOINED, descends=True)

ORDERS: Mapping[str, Order] = {
    "name": Order(_NAME),
    "alphabetical": Order(_NAME),
    "canonical_alias": Order(_ALIAS),
    "joined_members": _JOINED_MEMBERS,
    "size": _JOINED_MEMBERS,
    "joined_local_members": Order(_JOINED_LOCAL, descends=True),
    "version": Order("CASE WHEN r.version ~ '^[0-9]+$' THEN r.version::int END", descends=True),
    "creator": Order("r.creator"),
    "encryption": Order(_content("m.room.encryption", "algorithm")),
    "federatable": Order(f"{_content('m.room.create', 'm.federate')} IS DISTINCT FROM 'false'"),
    "public": Order("r.is_public"),
    "join_rules": Order(_content("m.room.join_rules", "join_rule")),
    "guest_access": Order(_content("m.room.guest_access", "guest_access")),
    "history_visibility": Order(_content("m.room.history_visibility", "history_visibility")),
    "state_events": Order(_STATE_EVENTS, descends=True),
}


def count_rooms(txn: Transaction, search: RoomSearch) -> int:
    condition, arguments = _condition(search)
    return int(txn.value(f"SELECT count(*) FROM rooms r WHERE {condition}", arguments))


def list_rooms(
    txn: Transaction, search: RoomSearch, order_by: str, *, turned: bool, offset: int, limit: int, server_name: str
) -> list[RoomRow]:  # fmt: skip
    """A page in one of `ORDERS`; rooms that are equal by it in the order of their ids."""
    condition, arguments = _condition(search)
    order = ORDERS[order_by]
    direction = "DESC" if order.descends != turned else "ASC"
    rows = txn.rows(
        f"SELECT r.room_nid FROM rooms r WHERE {condition}"
        f" ORDER BY {order.expression} {direction} NULLS LAST, r.room_id {direction}"
        " OFFSET %(offset)s LIMIT %(limit)s",
        {**arguments, **_suffix(server_name), "offset": offset, "limit": limit},
    )
    nids = [nid for (nid,) in rows]
    found = {row.room_nid: row for row in read_rooms(txn, nids, server_name)}
    return [found[nid] for nid in nids if nid in found]


def read_rooms(txn: Transaction, room_nids: Collection[int], server_name: str) -> list[RoomRow]:
    rows = txn.rows(
        f"SELECT r.room_nid, r.room_id, r.version, r.creator, r.is_public, {_JOINED}, {_JOINED_LOCAL}, {_STATE_EVENTS}"
        " FROM rooms r WHERE r.room_nid = ANY(%(room_nids)s)",
        {**_suffix(server_name), "room_nids": list(room_nids)},
    )
    return [RoomRow(*row) for row in rows]


def count_local_devices(txn: Transaction, room_nid: int) -> int:
    """The devices of those of this server's users who are joined."""
    return int(
        txn.value(
            "SELECT count(*) FROM memberships JOIN devices USING (user_id)"
            " WHERE room_nid = %s AND membership = 'join'",
            (room_nid,),
        )
    )


def is_forgotten(txn: Transaction, room_nid: int, server_name: str) -> bool:
    """Whether every user of this server who was ever in the room has forgotten it."""
    remembered = txn.row(
        "SELECT FROM memberships WHERE room_nid = %(room_nid)s AND NOT forgotten"
        " AND right(user_id, %(suffix_length)s) = %(suffix)s LIMIT 1",
        {**_suffix(server_name), "room_nid": room_nid},
    )
    return remembered is None


def forgotten_rooms(
    txn: Transaction, server_name: str, after_nid: int, limit: int
) -> tuple[list[str], int | None]:
    """Of the next `limit` rooms those in which users of this server were, and that all have forgotten.

    With them the last room that was looked at, None when there are no more.
    """
    rows = txn.rows(
        "SELECT r.room_nid, r.room_id, EXISTS (SELECT FROM memberships m WHERE m.room_nid = r.room_nid"
        "  AND right(m.user_id, %(suffix_length)s) = %(suffix)s)"
        " AND NOT EXISTS (SELECT FROM memberships m WHERE m.room_nid = r.room_nid AND NOT m.forgotten"
        "  AND right(m.user_id, %(suffix_length)s) = %(suffix)s)"
        " FROM rooms r WHERE r.room_nid > %(after_nid)s ORDER BY r.room_nid LIMIT %(limit)s",
        {**_suffix(server_name), "after_nid": after_nid, "limit": limit},
    )
    last = rows[-1][0] if len(rows) == limit else None
    return [room_id for _, room_id, is_forgotten in rows if is_forgotten], last


@frozen
class Extremity:
    """A forward extremity, and the snapshot of the state after it."""

    event_id: str
    snapshot_nid: int
    depth: int
    received_ts: int


def extremities(txn: Transaction, room_nid: int) -> list[Extremity]:
    """The newest first."""
    rows = txn.rows(
        "SELECT e.event_id, e.after_nid, e.depth, e.received_ts FROM events e"
        " WHERE e.event_nid = ANY(ARRAY(SELECT unnest(extremities) FROM rooms WHERE room_nid = %s))"
        " ORDER BY e.depth DESC, e.event_nid DESC",
        (room_nid,),
    )
    return [Extremity(*row) for row in rows]


def keep_newest_extremity(txn: Transaction, room_nid: int) -> int:
    """The next event will follow the newest only; how many were let go. Those events stay."""
    nids = txn.value("SELECT extremities FROM rooms WHERE room_nid = %s FOR NO KEY UPDATE", (room_nid,))
    newest = txn.value(
        "SELECT event_nid FROM events WHERE event_nid = ANY(%s) ORDER BY depth DESC, event_nid DESC LIMIT 1",
        (nids,),
    )
    if newest is None:
        return 0
    txn.execute("UPDATE rooms SET extremities = ARRAY[%s]::bigint[] WHERE room_nid = %s", (newest, room_nid))
    return len(nids) - 1


def _condition(search: RoomSearch) -> tuple[str, dict[str, object]]:
    conditions, arguments = ["TRUE"], {}
    if search.term is not None:
        conditions.append(
            f"(r.room_id = %(term)s OR lower({_NAME}) LIKE %(pattern)s"
            f" OR lower(split_part(substr({_ALIAS}, 2), ':', 1)) LIKE %(pattern)s)"
        )
        arguments = {"term": search.term, "pattern": _pattern(search.term)}
    if search.public is not None:
        conditions.append("r.is_public" if search.public else "NOT r.is_public")
    if search.empty is not None:
        some = "EXISTS (SELECT FROM memberships m WHERE m.room_nid = r.room_nid AND m.membership = 'join')"
        conditions.append(f"NOT {some}" if search.empty else some)
    return " AND ".join(conditions), dict(arguments)


def _pattern(term: str) -> str:
    escaped = term.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _suffix(server_name: str) -> dict[str, object]:
    return {"suffix": f":{server_name}", "suffix_length": len(server_name) + 1}
