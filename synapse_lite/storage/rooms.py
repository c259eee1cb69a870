"""Rooms, who is in them, and their aliases."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage.branches import Room
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.nids import nid_array
from synapse_lite.storage.stream import ROOM_ORDER_BACK, Kind, room_span


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
class Standing:
    """A room, and how a user stands to it.

    `member_nid` is their current member event, None for strangers and who has forgotten the room,
    `visibility_nid` the room's `m.room.history_visibility`, `now` the last position of the stream.
    """

    room: Room
    member_nid: int | None
    visibility_nid: int | None
    now: int


_MEMBERSHIP = "SELECT room_nid, user_id, membership, sender, event_nid, forgotten FROM memberships"


def room_by_id(txn: Transaction, room_id: str) -> Room | None:
    row = txn.row("SELECT room_nid, room_id, version FROM rooms WHERE room_id = %s", (room_id,))
    return Room(row[0], row[1], ROOM_VERSIONS[row[2]]) if row else None


def rooms_by_nid(txn: Transaction, room_nids: Collection[int]) -> dict[int, Room]:
    rows = txn.rows(
        "SELECT room_nid, room_id, version FROM rooms WHERE room_nid = ANY(%s)", (list(room_nids),)
    )
    return {row[0]: Room(row[0], row[1], ROOM_VERSIONS[row[2]]) for row in rows}


def membership_in(txn: Transaction, room_nid: int, user_id: str) -> Membership | None:
    row = txn.row(f"{_MEMBERSHIP} WHERE room_nid = %s AND user_id = %s", (room_nid, user_id))
    return Membership(*row) if row else None


def standing(txn: Transaction, room_id: str, user_id: str) -> Standing | None:
    """None for an unknown room. Sub-selects, because joins take PostgreSQL longer to plan."""
    row = txn.row(
        "SELECT room_nid, room_id, version,"
        " (SELECT event_nid FROM memberships m WHERE m.room_nid = r.room_nid AND user_id = %s AND NOT forgotten),"
        " (SELECT event_nid FROM current_state c WHERE c.room_nid = r.room_nid"
        "  AND type = 'm.room.history_visibility' AND state_key = ''),"
        " (SELECT position FROM stream_position)"
        " FROM rooms r WHERE room_id = %s",
        (user_id, room_id),
    )
    return Standing(Room(row[0], row[1], ROOM_VERSIONS[row[2]]), *row[3:]) if row else None


def memberships_of(txn: Transaction, user_id: str, memberships: Collection[str]) -> list[Membership]:
    """The user's rooms with one of the memberships, forgotten ones left out."""
    rows = txn.rows(
        f"{_MEMBERSHIP} WHERE user_id = %s AND membership = ANY(%s) AND NOT forgotten",
        (user_id, list(memberships)),
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


def heroes(txn: Transaction, room_nids: Collection[int], but: str, limit: int) -> dict[int, list[str]]:
    """A few members of each room other than one user, the earliest first: names for rooms without a name."""
    rows = txn.rows(
        "SELECT r.room_nid, m.user_id FROM unnest(%s::bigint[]) AS r (room_nid) CROSS JOIN LATERAL ("
        " SELECT user_id FROM memberships m WHERE m.room_nid = r.room_nid AND m.user_id <> %s"
        " AND m.membership IN ('join', 'invite') ORDER BY m.event_nid LIMIT %s) AS m",
        (list(room_nids), but, limit),
    )
    found: dict[int, list[str]] = {}
    for room_nid, user_id in rows:
        found.setdefault(room_nid, []).append(user_id)
    return found


def forget(txn: Transaction, room_nid: int, user_id: str) -> None:
    """Hide a room that the user left; 400 while the user is in it."""
    forgotten = txn.execute(
        "UPDATE memberships SET forgotten = TRUE WHERE room_nid = %s AND user_id = %s"
        " AND membership IN ('leave', 'ban')",
        (room_nid, user_id),
    )
    if not forgotten and membership_in(txn, room_nid, user_id) is not None:
        raise MatrixError(400, Errcode.UNKNOWN, f"User {user_id} is in room {room_nid}")


def room_of_alias(txn: Transaction, alias: str) -> str | None:
    """The id of the room that the alias names."""
    room_id: str | None = txn.value(
        "SELECT room_id FROM room_aliases JOIN rooms USING (room_nid) WHERE alias = %s", (alias,)
    )
    return room_id


def aliases_of(txn: Transaction, room_nid: int) -> list[str]:
    rows = txn.rows("SELECT alias FROM room_aliases WHERE room_nid = %s ORDER BY alias", (room_nid,))
    return [alias for (alias,) in rows]


def add_alias(txn: Transaction, alias: str, room_nid: int, creator: str) -> None:
    """409 `M_ROOM_IN_USE`… in Synapse's words, when the alias is taken."""
    added = txn.execute(
        "INSERT INTO room_aliases (alias, room_nid, creator) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (alias, room_nid, creator),
    )
    if not added:
        raise MatrixError(409, Errcode.UNKNOWN, f"Room alias {alias} already exists")


def remove_alias(txn: Transaction, alias: str) -> None:
    txn.execute("DELETE FROM room_aliases WHERE alias = %s", (alias,))


def alias_creator(txn: Transaction, alias: str) -> str:
    """Who made the alias; 404 when there is none."""
    creator: str | None = txn.value("SELECT creator FROM room_aliases WHERE alias = %s", (alias,))
    if creator is None:
        raise not_found(f"Room alias {alias} not found")
    return creator


def set_public(txn: Transaction, room_nid: int, public: bool) -> None:
    txn.execute("UPDATE rooms SET is_public = %s WHERE room_nid = %s", (public, room_nid))


def is_public(txn: Transaction, room_nid: int) -> bool:
    return bool(txn.value("SELECT is_public FROM rooms WHERE room_nid = %s", (room_nid,)))


def joined_room_ids(txn: Transaction, user_id: str) -> list[str]:
    rows = txn.rows(
        "SELECT room_id FROM memberships JOIN rooms USING (room_nid)"
        " WHERE user_id = %s AND membership = 'join' ORDER BY room_id",
        (user_id,),
    )
    return [room_id for (room_id,) in rows]


def is_joined_to_any(txn: Transaction, user_id: str, room_ids: Collection[str]) -> bool:
    row = txn.row(
        "SELECT FROM rooms JOIN memberships USING (room_nid)"
        " WHERE room_id = ANY(%s) AND user_id = %s AND membership = 'join' LIMIT 1",
        (list(room_ids), user_id),
    )
    return row is not None


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


@frozen
class Departure:
    """The member event by which a user last ceased to be joined, and the state after it."""

    event_nid: int
    after_nid: int


def departure(txn: Transaction, member_nid: int) -> Departure | None:
    """`member_nid` is the user's current member event, no join. None for who was never joined."""
    return departures(txn, [member_nid]).get(member_nid)


def departures(txn: Transaction, member_nids: Collection[int]) -> dict[int, Departure]:
    """As `departure`, by the current member event; who was never joined is absent."""
    if not member_nids:
        return {}
    rows = txn.rows(
        "WITH RECURSIVE past AS ("
        "  SELECT event_nid AS member_nid, event_nid, after_nid, replaces_nid, membership, 0 AS age"
        "  FROM events WHERE event_nid = ANY(%s::bigint[])"
        "  UNION ALL SELECT member_nid, e.event_nid, e.after_nid, e.replaces_nid, e.membership, age + 1"
        "  FROM past JOIN events e ON e.event_nid = past.replaces_nid WHERE past.membership <> 'join'"
        ") SELECT member_nid, event_nid, after_nid, membership FROM past ORDER BY age",
        (nid_array(member_nids),),
    )
    earliest, found = {}, {}
    for member_nid, event_nid, after_nid, membership in rows:
        if membership != "join":
            earliest[member_nid] = Departure(event_nid, after_nid)
        elif member_nid in earliest:
            found[member_nid] = earliest[member_nid]
    return found


def snapshot_at(txn: Transaction, room_nid: int, position: int, until_nid: int | None = None) -> int | None:
    """The state at a stream position, or at the event `until_nid` when that was before it."""
    snapshot_nid: int | None = txn.value(
        "SELECT e.after_nid FROM stream s JOIN events e USING (event_nid)"
        f" WHERE {room_span('%s', f'{Kind.EVENT:d}', '0', '%s')}"
        " AND s.position <= coalesce((SELECT position FROM stream WHERE event_nid = %s), s.position)"
        f" ORDER BY {ROOM_ORDER_BACK} LIMIT 1",
        (room_nid, room_nid, position, until_nid),
    )
    return snapshot_nid
