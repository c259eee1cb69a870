"""Rooms, and who is in them."""

from collections.abc import Collection, Mapping

from attrs import frozen

from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.planner import planned_once
from synapse_lite.storage.prepared import Prepared
from synapse_lite.storage.room_directory import refresh_listing
from synapse_lite.storage.statements import Row
from synapse_lite.storage.stream import ROOM_ORDER_BACK, Kind, Place, room_span


@frozen
class Room:
    """What never changes about a room."""

    nid: int
    room_id: str
    version: RoomVersion


@frozen
class Membership:
    """Somebody's current membership of a room; `sender` is who set it."""

    room_nid: int
    user_id: str
    membership: str
    sender: str
    event_nid: int
    forgotten: bool


@frozen
class RoomAccess:
    """A room, and how a user stands to it.

    `member_nid` is their current member event, None for strangers and who has forgotten the room,
    `visibility_nid` the room's `m.room.history_visibility`, `now` the last position of the stream,
    `member_position` that of the member event. `has_gaps`: some of the history is known to others only. `is_closed`: it is
    about to be purged.
    """

    room: Room
    member_nid: int | None
    visibility_nid: int | None
    now: int
    member_position: int | None
    has_gaps: bool
    is_closed: bool


_MEMBERSHIP = "SELECT room_nid, user_id, membership, sender, event_nid, forgotten FROM memberships"


def room_by_id(txn: Transaction, room_id: str) -> Room | None:
    row = txn.row("SELECT room_nid, room_id, version FROM rooms WHERE room_id = %s", (room_id,))
    return Room(row[0], row[1], ROOM_VERSIONS[row[2]]) if row else None


def rooms_by_id(txn: Transaction, room_ids: Collection[str]) -> dict[str, Room]:
    """Those that are known."""
    rows = txn.rows("SELECT room_nid, room_id, version FROM rooms WHERE room_id = ANY(%s)", (list(room_ids),))
    return {row[1]: Room(row[0], row[1], ROOM_VERSIONS[row[2]]) for row in rows}


def rooms_by_nid(txn: Transaction, room_nids: Collection[int]) -> dict[int, Room]:
    if not room_nids:
        return {}
    rows = txn.rows(
        "SELECT room_nid, room_id, version FROM rooms WHERE room_nid = ANY(%s)", (list(room_nids),)
    )
    return {row[0]: Room(row[0], row[1], ROOM_VERSIONS[row[2]]) for row in rows}


def membership_in(txn: Transaction, room_nid: int, user_id: str) -> Membership | None:
    row = txn.row(f"{_MEMBERSHIP} WHERE room_nid = %s AND user_id = %s", (room_nid, user_id))
    return Membership(*row) if row else None


ACCESS = (
    "SELECT room_nid, room_id, version,"
    " (SELECT ARRAY[m.event_nid, (SELECT position FROM stream s WHERE s.event_nid = m.event_nid)]"
    "  FROM memberships m WHERE m.room_nid = r.room_nid AND user_id = %s AND NOT forgotten) AS member,"
    " (SELECT event_nid FROM current_state c WHERE c.room_nid = r.room_nid"
    "  AND type = 'm.room.history_visibility' AND state_key = '') AS visibility_nid,"
    " (SELECT position FROM stream_position) AS now,"
    " EXISTS (SELECT FROM room_gaps g WHERE g.room_nid = r.room_nid) AS has_gaps, purging"
    " FROM rooms r WHERE room_id = %s"
)
"""A user's access to a room, of the ids of both. Sub-selects, because joins take PostgreSQL longer to plan."""
_ROOM_ACCESS = Prepared("room_access", ACCESS)


def room_access(txn: Transaction, room_id: str, user_id: str) -> RoomAccess | None:
    """None for an unknown room."""
    row = txn.row(_ROOM_ACCESS, (user_id, room_id))
    return None if row is None else access_of(row)


def access_of(row: Row) -> RoomAccess:
    """A row of `ACCESS`."""
    nid, known_id, version, member, visibility_nid, now, has_gaps, is_closed = row
    member_nid, member_position = member or (None, None)
    room = Room(nid, known_id, ROOM_VERSIONS[version])
    return RoomAccess(room, member_nid, visibility_nid, now, member_position, has_gaps, is_closed)


_VISIBILITY = (
    "(SELECT event_nid FROM current_state c WHERE c.room_nid = m.room_nid"
    " AND type = 'm.room.history_visibility' AND state_key = '')"
)
_PLACE = "(SELECT ARRAY[position, minor] FROM stream s WHERE s.event_nid = m.event_nid)"
_STANDINGS = Prepared(
    "standings",
    f"SELECT m.room_nid, {_VISIBILITY}, {_PLACE} FROM unnest(%s::bigint[], %s::bigint[]) AS m (room_nid, event_nid)",
)
_ROOMS_OF = Prepared(
    "rooms_of",
    "SELECT m.room_nid, r.room_id, r.version, m.event_nid, (SELECT position FROM stream_position), is_named,"
    f" CASE WHEN is_named THEN {_VISIBILITY} END, CASE WHEN is_named THEN {_PLACE} END"
    " FROM memberships m JOIN rooms r USING (room_nid)"
    " CROSS JOIN LATERAL (SELECT r.room_id = ANY(%s::text[]) AS is_named) AS named"
    " WHERE m.user_id = %s AND m.membership = ANY(%s::text[]) AND NOT m.forgotten",
)
Standings = Mapping[int, tuple[int | None, Place | None]]
"""Of rooms, by nid: the current `m.room.history_visibility`, and where somebody's member event is."""


@frozen
class OwnRooms:
    """A user's rooms by nid, each with their member event, and the last position of the stream, 0 where there are no rooms."""

    rooms: Mapping[int, tuple[Room, int]]
    standings: Standings
    now: int


def rooms_of(
    txn: Transaction, user_id: str, memberships: Collection[str], named: Collection[str]
) -> OwnRooms:
    """Those with one of the memberships, forgotten ones left out; the `standings` are of those that are named."""
    with planned_once(txn):
        rows = txn.rows(_ROOMS_OF, ([*named], user_id, [*memberships]))
    return OwnRooms(
        {row[0]: (Room(row[0], row[1], ROOM_VERSIONS[row[2]]), row[3]) for row in rows},
        {row[0]: _standing(*row[6:]) for row in rows if row[5]},
        rows[0][4] if rows else 0,
    )


def standings(txn: Transaction, members: Mapping[int, int]) -> Standings:
    """Of rooms by nid, with a member event each."""
    if not members:
        return {}
    rows = txn.rows(_STANDINGS, (list(members), list(members.values())))
    return {nid: _standing(visibility_nid, place) for nid, visibility_nid, place in rows}


def _standing(visibility_nid: int | None, place: list[int] | None) -> tuple[int | None, Place | None]:
    return visibility_nid, None if place is None else Place(*place)


def memberships_of(txn: Transaction, user_id: str, memberships: Collection[str]) -> list[Membership]:
    """The user's rooms with one of the memberships, forgotten ones left out."""
    rows = txn.rows(
        f"{_MEMBERSHIP} WHERE user_id = %s AND membership = ANY(%s) AND NOT forgotten",
        (user_id, list(memberships)),
    )
    return [Membership(*row) for row in rows]


def joined_after(txn: Transaction, user_id: str, after: int, limit: int) -> list[Membership]:
    """The next rooms that the user is in, by number."""
    rows = txn.rows(
        f"{_MEMBERSHIP} WHERE user_id = %s AND membership = 'join' AND room_nid > %s ORDER BY room_nid LIMIT %s",
        (user_id, after, limit),
    )
    return [Membership(*row) for row in rows]


def members(txn: Transaction, room_nid: int, memberships: Collection[str]) -> list[Membership]:
    rows = txn.rows(
        f"{_MEMBERSHIP} WHERE room_nid = %s AND membership = ANY(%s) ORDER BY user_id",
        (room_nid, list(memberships)),
    )
    return [Membership(*row) for row in rows]


def count_members(txn: Transaction, room_nids: Collection[int]) -> dict[int, dict[str, int]]:
    """How many members each room has, by membership."""
    counts: dict[int, dict[str, int]] = {nid: {} for nid in room_nids}
    for nid, membership, count in txn.rows(
        "SELECT room_nid, membership, count(*) FROM memberships WHERE room_nid = ANY(%s) GROUP BY 1, 2",
        (list(room_nids),),
    ):
        counts[nid][membership] = count
    return counts


def heroes(txn: Transaction, room_nids: Collection[int], limit: int) -> dict[int, list[str]]:
    """A few members of each room, the earliest first: names for rooms without a name.

    Where nobody but one is left, those who were there.
    """
    rows = txn.rows(
        "SELECT r.room_nid, m.user_id, m.membership IN ('join', 'invite')"
        " FROM unnest(%s::bigint[]) AS r (room_nid) CROSS JOIN LATERAL ("
        " SELECT user_id, membership FROM memberships m WHERE m.room_nid = r.room_nid"
        " ORDER BY m.membership NOT IN ('join', 'invite'), m.event_nid LIMIT %s) AS m",
        (list(room_nids), limit),
    )
    found: dict[int, list[tuple[str, bool]]] = {}
    for room_nid, user_id, is_there in rows:
        found.setdefault(room_nid, []).append((user_id, is_there))
    return {
        nid: [
            user_id
            for user_id, is_there in members
            if is_there or [there for _, there in members].count(True) <= 1
        ]
        for nid, members in found.items()
    }


def forget(txn: Transaction, room_nid: int, user_id: str) -> None:
    """Hide a room that the user left; 400 while the user is in it."""
    forgotten = txn.execute(
        "UPDATE memberships SET forgotten = TRUE WHERE room_nid = %s AND user_id = %s"
        " AND membership IN ('leave', 'ban')",
        (room_nid, user_id),
    )
    if forgotten:
        txn.publish(Kind.FORGOTTEN, user_id=user_id, room_nid=room_nid)
    elif membership_in(txn, room_nid, user_id) is not None:
        raise MatrixError(400, Errcode.UNKNOWN, f"User {user_id} is in room {room_nid}")


def last_event_id(txn: Transaction, room_nid: int) -> str | None:
    """The newest event that pages show."""
    event_id: str | None = txn.value(
        "SELECT event_id FROM rooms r JOIN events e ON e.event_nid = r.last_event_nid WHERE r.room_nid = %s",
        (room_nid,),
    )
    return event_id


def set_public(txn: Transaction, room_nid: int, public: bool) -> None:
    txn.later("UPDATE rooms SET is_public = %s WHERE room_nid = %s", (public, room_nid))
    refresh_listing(txn, room_nid)


def is_public(txn: Transaction, room_nid: int) -> bool:
    return bool(txn.value("SELECT is_public FROM rooms WHERE room_nid = %s", (room_nid,)))


def joined_rooms(txn: Transaction, user_id: str) -> dict[int, str]:
    """The rooms that the user is in, room nid to room id."""
    return dict(
        txn.rows(
            "SELECT room_nid, room_id FROM memberships JOIN rooms USING (room_nid)"
            " WHERE user_id = %s AND membership = 'join'",
            (user_id,),
        )
    )


def joined_rooms_of(txn: Transaction, user_ids: Collection[str]) -> tuple[int, dict[str, dict[int, str]]]:
    """As `joined_rooms`, of each user, and the position of the stream at which that is so."""
    found: dict[str, dict[int, str]] = {user_id: {} for user_id in user_ids}
    rows = txn.rows(
        "SELECT position, user_id, room_nid, room_id FROM stream_position LEFT JOIN ("
        " unnest(%s::text[]) AS wanted (user_id) CROSS JOIN LATERAL ("
        "  SELECT room_nid, room_id FROM memberships AS one JOIN rooms USING (room_nid)"
        "  WHERE one.user_id = wanted.user_id AND membership = 'join' OFFSET 0) AS theirs) ON TRUE",
        (list(user_ids),),
    )
    for _, user_id, room_nid, room_id in rows:
        if user_id is not None:
            found[user_id][room_nid] = room_id
    return rows[0][0], found


def all_rooms_of(txn: Transaction, user_id: str) -> list[tuple[int, str, str]]:
    """(room nid, room id, membership), whatever the membership is, forgotten rooms too."""
    return [
        (nid, room_id, membership)
        for nid, room_id, membership in txn.rows(
            "SELECT room_nid, room_id, membership FROM memberships JOIN rooms USING (room_nid)"
            " WHERE user_id = %s ORDER BY room_nid",
            (user_id,),
        )
    ]


def current_event_nids(txn: Transaction, room_nid: int, limit: int | None = None) -> list[int]:
    """Of the current state."""
    rows = txn.rows(
        "SELECT event_nid FROM current_state WHERE room_nid = %s ORDER BY event_nid LIMIT %s",
        (room_nid, limit),
    )
    return [nid for (nid,) in rows]


def joined_room_ids(txn: Transaction, user_id: str) -> list[str]:
    rows = txn.rows(
        "SELECT room_id FROM memberships JOIN rooms USING (room_nid)"
        " WHERE user_id = %s AND membership = 'join' ORDER BY room_id",
        (user_id,),
    )
    return [room_id for (room_id,) in rows]


def is_joined_to_any(txn: Transaction, user_id: str, room_ids: Collection[str], server_name: str) -> bool:
    """Of rooms that nobody of this server is in any more it is not known who is: they do not count."""
    row = txn.row(
        "SELECT FROM rooms JOIN memberships m USING (room_nid)"
        " WHERE room_id = ANY(%s) AND user_id = %s AND membership = 'join' AND EXISTS (SELECT FROM memberships o"
        "  WHERE o.room_nid = m.room_nid AND o.server_name = %s AND o.membership = 'join') LIMIT 1",
        (list(room_ids), user_id, server_name),
    )
    return row is not None


def joined_of(txn: Transaction, user_id: str, room_ids: Collection[str]) -> set[str]:
    """Those of the rooms that the user is in."""
    if not room_ids:
        return set()
    rows = txn.rows(
        "SELECT room_id FROM rooms JOIN memberships USING (room_nid)"
        " WHERE room_id = ANY(%s) AND user_id = %s AND membership = 'join'",
        (list(room_ids), user_id),
    )
    return {room_id for (room_id,) in rows}


def memberships_in(txn: Transaction, room_nids: Collection[int], user_id: str) -> dict[int, str]:
    """The user's membership of each of the rooms; where there never was one, none."""
    return dict(
        txn.rows(
            "SELECT room_nid, membership FROM memberships WHERE room_nid = ANY(%s) AND user_id = %s",
            (list(room_nids), user_id),
        )
    )


def nids_of(txn: Transaction, room_ids: Collection[str]) -> dict[str, int]:
    """Room id to nid; unknown rooms are absent."""
    return dict(txn.rows("SELECT room_id, room_nid FROM rooms WHERE room_id = ANY(%s)", (list(room_ids),)))


def joined_among(txn: Transaction, room_nid: int, user_ids: Collection[str]) -> list[str]:
    """Those of the users who are in the room."""
    rows = txn.rows(
        "SELECT user_id FROM memberships WHERE room_nid = %s AND user_id = ANY(%s) AND membership = 'join'"
        " ORDER BY user_id",
        (room_nid, list(user_ids)),
    )
    return [user_id for (user_id,) in rows]


def any_joined(txn: Transaction, room_nid: int, server_name: str, excluded: Collection[str]) -> str | None:
    """Some user of the server who is in the room and not excluded."""
    user_id: str | None = txn.value(
        "SELECT user_id FROM memberships WHERE room_nid = %s AND membership = 'join'"
        " AND substr(user_id, strpos(user_id, ':') + 1) = %s AND user_id <> ALL(%s) LIMIT 1",
        (room_nid, server_name, list(excluded)),
    )
    return user_id


def head_snapshot(txn: Transaction, room_nid: int) -> int:
    """The snapshot of the room's current state."""
    return int(txn.value("SELECT snapshot_nid FROM rooms WHERE room_nid = %s", (room_nid,)) or 0)


def snapshot_at(txn: Transaction, room_nid: int, place: Place, until_nid: int | None = None) -> int | None:
    """The state at a place, or at the event `until_nid` when that was before it."""
    snapshot_nid: int | None = txn.value(
        "SELECT e.after_nid FROM stream s JOIN events e USING (event_nid)"
        f" WHERE {room_span('%s', f'{Kind.EVENT:d}', '0', '%s, %s')}"
        " AND s.position <= coalesce((SELECT position FROM stream WHERE event_nid = %s), s.position)"
        f" ORDER BY {ROOM_ORDER_BACK} LIMIT 1",
        (room_nid, room_nid, *place, until_nid),
    )
    return snapshot_nid
