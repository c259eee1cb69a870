"""Aliases of rooms."""

from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.storage.database import Transaction


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
    """409 `M_UNKNOWN`, as Synapse has it, when the alias is taken."""
    added = txn.execute(
        "INSERT INTO room_aliases (alias, room_nid, creator) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (alias, room_nid, creator),
    )
    if not added:
        raise MatrixError(409, Errcode.UNKNOWN, f"Room alias {alias} already exists")


def move_aliases(txn: Transaction, room_nid: int, to_nid: int) -> list[str]:
    """All aliases of a room name another one from now on; these aliases."""
    rows = txn.rows(
        "UPDATE room_aliases SET room_nid = %s WHERE room_nid = %s RETURNING alias", (to_nid, room_nid)
    )
    return sorted(alias for (alias,) in rows)


def alias_count(txn: Transaction, creator: str) -> int:
    count: int = txn.value("SELECT count(*) FROM room_aliases WHERE creator = %s", (creator,))
    return count


def remove_alias(txn: Transaction, alias: str) -> None:
    txn.execute("DELETE FROM room_aliases WHERE alias = %s", (alias,))


def alias_creator(txn: Transaction, alias: str) -> str:
    """Who made the alias; 404 when there is none."""
    creator: str | None = txn.value("SELECT creator FROM room_aliases WHERE alias = %s", (alias,))
    if creator is None:
        raise not_found(f"Room alias {alias} not found")
    return creator
