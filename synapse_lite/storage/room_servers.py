"""Which servers take part in rooms."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from synapse_lite.ids import domain_of
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room

OUTLIER = 1  # `Standing.OUTLIER`
MAX_USERS = 1000
"""Of one server, whose memberships of old are looked at where history is for members only."""


_ByRoom = dict[int, list[str]]


def servers_in_room(txn: Transaction, room_nid: int, limit: int) -> list[str]:
    """Some of those with joined members, the most crowded first; of a room of which not all are known, then others."""
    rows = txn.rows(
        "(SELECT server_name FROM memberships WHERE room_nid = %s AND membership = 'join'"
        " GROUP BY server_name ORDER BY count(*) DESC, server_name LIMIT %s)"
        " UNION ALL (SELECT unnest(servers) FROM partial_rooms WHERE room_nid = %s LIMIT %s)",
        (room_nid, limit, room_nid, limit),
    )
    return [server_name for (server_name,) in rows]


def is_in_room(txn: Transaction, room_nid: int, server_name: str) -> bool:
    """Whether a user of the server is joined now."""
    row = txn.row(
        "SELECT FROM memberships WHERE room_nid = %s AND server_name = %s AND membership = 'join' LIMIT 1",
        (room_nid, server_name),
    )
    return row is not None


def rooms_of(txn: Transaction, room_ids: Collection[str], server_name: str) -> dict[str, Room]:
    """Those of the rooms that a user of the server is joined to now, by id."""
    rows = txn.rows(
        "SELECT room_nid, room_id, version FROM rooms r WHERE room_id = ANY(%s) AND EXISTS (SELECT FROM memberships m"
        " WHERE m.room_nid = r.room_nid AND server_name = %s AND membership = 'join' OFFSET 0)",
        (list(room_ids), server_name),
    )
    return {room_id: Room(nid, room_id, ROOM_VERSIONS[version]) for nid, room_id, version in rows}


def before_join(txn: Transaction, room_nid: int, server_name: str, user_id: str) -> tuple[bool, int | None]:
    """Whether a user of the server is joined now, and the event by which this user has left of their own accord."""
    ours, left = txn.rows(
        "SELECT EXISTS (SELECT FROM memberships WHERE room_nid = %s AND server_name = %s AND membership = 'join'),"
        " (SELECT event_nid FROM memberships WHERE room_nid = %s AND user_id = %s AND membership = 'leave'"
        "  AND sender = user_id)",
        (room_nid, server_name, room_nid, user_id),
    )[0]
    return ours, left


def has_waiting(txn: Transaction, room_nid: int, server_name: str) -> bool:
    """Whether a user of the server is invited, or knocks."""
    row = txn.row(
        "SELECT FROM memberships WHERE room_nid = %s AND server_name = %s AND membership IN ('invite', 'knock')"
        " LIMIT 1",
        (room_nid, server_name),
    )
    return row is not None


_IS_KEPT = (
    "(EXISTS (SELECT FROM memberships m WHERE m.room_nid = r.room_nid AND server_name = %s AND membership = 'join' OFFSET 0)"
    " OR (cardinality(extremities) > 0 AND NOT EXISTS (SELECT FROM memberships m"
    "  WHERE m.room_nid = r.room_nid AND membership = 'join' OFFSET 0)"
    " AND NOT EXISTS (SELECT FROM partial_rooms p WHERE p.room_nid = r.room_nid OFFSET 0)))"
)


def keeps_room(txn: Transaction, room_nid: int, server_name: str) -> bool:
    """Whether the server's state of the room is the room's: somebody of it is joined, or nobody anywhere any more."""
    sql = f"SELECT FROM rooms r WHERE room_nid = %s AND {_IS_KEPT}"
    return txn.row(sql, (room_nid, server_name)) is not None


def kept_among(txn: Transaction, room_ids: Collection[str], server_name: str) -> dict[str, int]:
    """Id to nid of those of the rooms of which that is true."""
    sql = f"SELECT room_id, room_nid FROM rooms r WHERE room_id = ANY(%s) AND {_IS_KEPT}"
    return dict(txn.rows(sql, (list(room_ids), server_name)))


def users_of(txn: Transaction, room_nid: int, server_name: str) -> list[str]:
    """Users of the server with whatever membership."""
    rows = txn.rows(
        "SELECT user_id FROM memberships WHERE room_nid = %s AND server_name = %s ORDER BY user_id LIMIT %s",
        (room_nid, server_name, MAX_USERS),
    )
    return [user_id for (user_id,) in rows]


def joined_users_of(txn: Transaction, room_nid: int, server_name: str, limit: int) -> list[str]:
    rows = txn.rows(
        "SELECT user_id FROM memberships WHERE room_nid = %s AND server_name = %s AND membership = 'join'"
        " ORDER BY user_id LIMIT %s",
        (room_nid, server_name, limit),
    )
    return [user_id for (user_id,) in rows]


def all_servers(txn: Transaction, room_nid: int) -> list[str]:
    """Those with joined members."""
    return servers_of_each(txn, [room_nid])[room_nid]


def servers_of_each(txn: Transaction, room_nids: Collection[int]) -> dict[int, list[str]]:
    """By room, those with joined members: looked up one after the other, however many members each has.

    Of a room of which not all members are known, also those that were there when this server came in.
    """
    known, told = _servers(txn, room_nids)
    return {room_nid: sorted({*known[room_nid], *told[room_nid]}) for room_nid in room_nids}


def _servers(txn: Transaction, room_nids: Collection[int]) -> tuple[_ByRoom, _ByRoom]:
    """Of each room the servers of its members, as far as these are known, and those that it was told of, if they are not."""
    known: _ByRoom = {room_nid: [] for room_nid in room_nids}
    told: _ByRoom = {room_nid: [] for room_nid in room_nids}
    rows = txn.rows(
        "SELECT r.room_nid, f.server_name, FALSE FROM unnest(%s::bigint[]) AS r (room_nid) CROSS JOIN LATERAL ("
        " WITH RECURSIVE found AS ("
        f" (SELECT server_name {_JOINED} ORDER BY m.room_nid, m.server_name LIMIT 1) UNION ALL"
        f" SELECT (SELECT m.server_name {_JOINED} AND m.server_name > found.server_name"
        "  ORDER BY m.room_nid, m.server_name LIMIT 1) FROM found WHERE found.server_name IS NOT NULL)"
        " SELECT server_name FROM found WHERE server_name IS NOT NULL) AS f"
        " UNION ALL SELECT room_nid, unnest(servers), TRUE FROM partial_rooms WHERE room_nid = ANY(%s::bigint[])",
        (list(room_nids), list(room_nids)),
    )
    for room_nid, server_name, is_told in rows:
        (told if is_told else known)[room_nid].append(server_name)
    return known, told


def shared_rooms(
    txn: Transaction, user_ids: Collection[str], server_name: str, excluded: Collection[str]
) -> list[tuple[str, int]]:
    """(user, room nid): where they are joined, and somebody of another server than this; but not in these rooms (ids)."""
    other = "EXISTS (SELECT FROM memberships o WHERE o.room_nid = m.room_nid AND o.membership = 'join' AND o.server_name"
    rows = txn.rows(
        "SELECT m.user_id, m.room_nid FROM memberships m JOIN rooms r USING (room_nid)"
        " WHERE m.user_id = ANY(%s) AND m.membership = 'join' AND r.room_id <> ALL(%s)"
        f" AND ({other} < %s) OR {other} > %s))",
        (list(user_ids), list(excluded), server_name, server_name),
    )
    return [(user_id, room_nid) for user_id, room_nid in rows]


_JOINED = "FROM memberships m WHERE m.room_nid = r.room_nid AND membership = 'join'"


def servers_before(txn: Transaction, positions: Mapping[int, Collection[int]]) -> dict[int, frozenset[str]]:
    """By position of the stream, not far back: those with joined members just before it.

    `positions` are of the rooms, by nid.
    """
    (now, told), moves = _servers(txn, positions), _moves_since(txn, positions)
    found: dict[int, frozenset[str]] = {}
    for room_nid, places in positions.items():
        moved = moves.get(room_nid, [])
        was_joined: dict[str, bool] = {}  # of those who have moved since
        for position in sorted(places, reverse=True):
            while moved and moved[0].position >= position:
                move = moved.pop(0)
                was_joined[move.user_id] = move.was_joined or (move.is_late and move.position > position)
            found[position] = _servers_then(txn, room_nid, now[room_nid], was_joined).union(told[room_nid])
    return found


class _Move(NamedTuple):
    """A change of a membership. `is_late`: of somebody who was joined all the time, which was not known here."""

    position: int
    user_id: str
    was_joined: bool
    is_late: bool


def _moves_since(txn: Transaction, positions: Mapping[int, Collection[int]]) -> dict[int, list[_Move]]:
    """By room, the newest first. A first member event that is no part of the history here was filled in late."""
    found: dict[int, list[_Move]] = {}
    rows = txn.rows(
        "SELECT d.room_nid, d.position, d.state_key, coalesce(p.membership = 'join', FALSE),"
        f" d.previous_nid IS NULL AND coalesce(e.standing = {OUTLIER} AND e.membership = 'join', FALSE)"
        " FROM unnest(%s::bigint[], %s::bigint[]) AS r (room_nid, since) CROSS JOIN LATERAL ("
        "  SELECT * FROM state_deltas s WHERE s.room_nid = r.room_nid AND s.position >= r.since"
        f" AND s.type = '{MEMBER}' ORDER BY s.position DESC) AS d"
        " LEFT JOIN events p ON p.event_nid = d.previous_nid"
        " LEFT JOIN events e ON e.event_nid = d.event_nid ORDER BY d.room_nid, d.position DESC",
        (list(positions), [min(places) for places in positions.values()]),
    )
    for room_nid, *move in rows:
        found.setdefault(room_nid, []).append(_Move(*move))
    return found


def _servers_then(
    txn: Transaction, room_nid: int, now: Collection[str], was_joined: Mapping[str, bool]
) -> frozenset[str]:
    """`was_joined`: of those whose membership may have been another one then."""
    came = [user_id for user_id, joined in was_joined.items() if not joined]
    stayed: set[str] = set(now)
    if came:
        doubtful = {domain_of(user_id) for user_id in came}
        rows = txn.rows(
            "SELECT DISTINCT server_name FROM memberships WHERE room_nid = %s AND membership = 'join'"
            " AND server_name = ANY(%s) AND user_id <> ALL(%s)",
            (room_nid, list(doubtful), came),
        )
        stayed = (stayed - doubtful) | {name for (name,) in rows}
    return frozenset(stayed | {domain_of(user_id) for user_id, joined in was_joined.items() if joined})
