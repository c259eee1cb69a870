"""Rooms as operators see them: lists in any order, details, forward extremities."""

from collections.abc import Iterable, Mapping

from attrs import evolve, frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.long_lists import LongList, Narrowing, Order, Survey, nullable, read_page
from synapse_lite.storage.patterns import containing, has_short_parts, has_trigrams
from synapse_lite.storage.room_summary import RoomSummary, read_summaries


@frozen
class RoomSearch:
    """`term`: part of the name or of the canonical alias' localpart, or the whole room id. None means any."""

    term: str | None = None
    public: bool | None = None
    empty: bool | None = None


_ROOM, _SUMMARY, _SIZES = "r.room_nid", "s.room_nid", "z.room_nid"
_SIZE = Order(("z.joined", _SIZES), descending=True)
_NAME = Order((*nullable("s.name", "''"), _SUMMARY))

ORDERS: Mapping[str, Order] = {
    "name": _NAME,
    "alphabetical": _NAME,
    "canonical_alias": Order((*nullable("s.canonical_alias", "''"), _SUMMARY)),
    "joined_members": _SIZE,
    "size": _SIZE,
    "joined_local_members": Order(("z.joined_local", _SIZES), descending=True),
    "version": Order(
        ("coalesce(CASE WHEN r.version ~ '^[0-9]+$' THEN r.version::int END, 0)", _ROOM), descending=True
    ),
    "creator": Order((*nullable("r.creator", "''"), _ROOM)),
    "encryption": Order((*nullable("s.encryption", "''"), _SUMMARY)),
    "federatable": Order(("s.federates", _SUMMARY)),
    "public": Order(("r.is_public", _ROOM)),
    "join_rules": Order((*nullable("s.join_rule", "''"), _SUMMARY)),
    "guest_access": Order((*nullable("s.guest_access", "''"), _SUMMARY)),
    "history_visibility": Order((*nullable("s.history_visibility", "''"), _SUMMARY)),
    "state_events": Order(("z.state_events", _SIZES), descending=True),
}

_TABLES = {"r": "rooms r", "s": "room_summary s", "z": "room_sizes z"}
_SEARCHED = "coalesce(s.name, '') || E'\\n' || coalesce(s.canonical_alias, '')"
_NAMES = "coalesce(s.name, '') || E'\\n' || coalesce(split_part(substr(s.canonical_alias, 2), ':', 1), '')"


def long_list(search: RoomSearch, order_by: str, *, turned: bool) -> LongList:
    """In one of `ORDERS`; of rooms that are equal by it the oldest first, or last where it descends."""
    order = ORDERS[order_by].turned(turned)
    conditions, arguments = _conditions(search)
    source = _joined((order.columns[-1][0], *conditions))
    counted = _joined(conditions or ("z",))
    # What is equal of all is no order: see `user_admin.long_list`.
    equal = {"r.is_public"} if search.public is not None else set[str]()
    equal |= {"z.joined"} if search.empty else set()
    order = evolve(order, columns=tuple(column for column in order.columns if column not in equal))
    condition = " AND ".join(conditions.values()) or "TRUE"
    return LongList(source, condition, order, arguments, _narrowing(search.term), counted)


def list_rooms(
    txn: Transaction, wanted: LongList, survey: Survey, *, offset: int, limit: int
) -> list[RoomSummary]:
    """A page of it."""
    nids = [
        nid for (nid,) in read_page(txn, wanted.order.columns[-1], wanted, survey, offset=offset, limit=limit)
    ]
    found = read_summaries(txn, nids)
    return [found[nid] for nid in nids]


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
        " AND server_name = %(server_name)s LIMIT 1",
        {"server_name": server_name, "room_nid": room_nid},
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
        "  AND m.server_name = %(server_name)s)"
        " AND NOT EXISTS (SELECT FROM memberships m WHERE m.room_nid = r.room_nid AND NOT m.forgotten"
        "  AND m.server_name = %(server_name)s)"
        " FROM rooms r WHERE r.room_nid > %(after_nid)s ORDER BY r.room_nid LIMIT %(limit)s",
        {"server_name": server_name, "after_nid": after_nid, "limit": limit},
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


def _joined(names: Iterable[str]) -> str:
    """Of the rooms that this server is or was in: one that it has only heard of has a row of `rooms` and no other."""
    first, *others = dict.fromkeys(names)
    if first == "r" and not others:
        others = ["z"]
    return _TABLES[first] + "".join(f" JOIN {_TABLES[other]} USING (room_nid)" for other in others)


def _conditions(search: RoomSearch) -> tuple[dict[str, str], dict[str, object]]:
    """By the table that they are about."""
    conditions, arguments = dict[str, str](), dict[str, object]()
    if search.term is not None:
        conditions["s"] = (
            "(s.room_nid = (SELECT room_nid FROM rooms WHERE room_id = %(term)s)"
            " OR lower(s.name) LIKE lower(%(pattern)s)"
            " OR lower(split_part(substr(s.canonical_alias, 2), ':', 1)) LIKE lower(%(pattern)s))"
        )
        arguments = {"term": search.term, "pattern": containing(search.term)}
    if search.public is not None:
        conditions["r"] = "r.is_public" if search.public else "NOT r.is_public"
    if search.empty is not None:
        conditions["z"] = "z.joined = 0" if search.empty else "z.joined > 0"
    return conditions, arguments


def _narrowing(term: str | None) -> Narrowing | None:
    if not term:
        return None
    by_index = has_trigrams(_SEARCHED, "term", term) or has_short_parts(_NAMES, "term", term)
    if by_index is None:
        return None
    summaries = "room_summary s"
    condition = (
        "s.room_nid = ANY(ARRAY(SELECT room_nid FROM rooms WHERE room_id = %(term)s"
        f" UNION SELECT room_nid FROM {summaries} WHERE {by_index}))"
    )
    return Narrowing(summaries, by_index, condition)
