"""Rooms, who is in them, and their aliases."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage.branches import Room
from synapse_lite.storage.database import Transaction


@frozen
class Membership:
    """Somebody's current membership of a room; `sender` is who set it."""

    room_nid: int
    user_id: str
    membership: str
    sender: str
    event_nid: int
    forgotten: bool


_MEMBERSHIP = "SELECT room_nid, user_id, membership, sender, event_nid, forgotten FROM memberships"


def room_by_id(txn: Transaction, room_id: str) -> Room | None:
    row = txn.row("SELECT room_nid, room_id, version FROM rooms WHERE room_id = %s", (room_id,))
    return Room(row[0], row[1], ROOM_VERSIONS[row[2]]) if row else None


def rooms_by_nid(txn: Transaction, room_nids: Collection[int]) -> dict[int, Room]:
    rows = txn.rows("SELECT room_nid, room_id, version FROM rooms WHERE room_nid = ANY(%s)", (list(room_nids),))
    return {row[0]: Room(row[0], row[1], ROOM_VERSIONS[row[2]]) for row in rows}


def membership_in(txn: Transaction, room_nid: int, user_id: str) -> Membership | None:
    row = txn.row(f"{_MEMBERSHIP} WHERE room_nid = %s AND user_id = %s", (room_nid, user_id))
    return Membership(*row) if row else None


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
