"""What is known from outside of rooms that nobody of this server is in."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from synapse_lite.canonical_json import JsonObject, decode_exact, dump
from synapse_lite.storage.database import Transaction


def put_stripped(
    txn: Transaction, room_nid: int, user_id: str, server_name: str, state: Sequence[JsonObject]
) -> None:
    """What the user who is invited, or knocks, may see of the room, as the server tells."""
    txn.execute(
        "INSERT INTO stripped_state (room_nid, user_id, server_name, json) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (room_nid, user_id) DO UPDATE SET server_name = excluded.server_name, json = excluded.json",
        (room_nid, user_id, server_name, dump(list(state)).decode()),
    )


def teller_of(txn: Transaction, room_nid: int, user_id: str) -> str | None:
    """The server that told the user of the room."""
    server_name: str | None = txn.value(
        "SELECT server_name FROM stripped_state WHERE room_nid = %s AND user_id = %s", (room_nid, user_id)
    )
    return server_name


def stripped_of(
    txn: Transaction, room_nids: Collection[int], user_id: str
) -> Mapping[int, list[dict[str, Any]]]:
    """By room; those that this server is in have none."""
    rows = txn.rows(
        "SELECT room_nid, json FROM stripped_state WHERE room_nid = ANY(%s) AND user_id = %s",
        (list(room_nids), user_id),
    )
    return {room_nid: decode_exact(json) for room_nid, json in rows}


def forget_stripped(txn: Transaction, room_nid: int, user_id: str | None = None) -> None:
    """Of one user, or of all."""
    txn.later(
        "DELETE FROM stripped_state WHERE room_nid = %s AND user_id = coalesce(%s, user_id)",
        (room_nid, user_id),
    )
