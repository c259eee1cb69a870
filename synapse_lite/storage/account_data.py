"""Account data, of a user alone or of a user in a room, and stored filters.

A change is published with the user, the room and the type: a sync that meets it sends what is stored now.
"""

import hashlib
from collections.abc import Callable, Collection

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind

GLOBAL = 0
"""The `room_nid` of account data that belongs to no room."""


def find_room_nid(txn: Transaction, room_id: str) -> int | None:
    nid: int | None = txn.value("SELECT room_nid FROM rooms WHERE room_id = %s", (room_id,))
    return nid


def put_account_data(
    txn: Transaction, user_id: str, room_nid: int, data_type: str, content: JsonObject
) -> None:
    """Store the content; writing what is there already changes nothing and wakes nobody."""
    changed = txn.execute(
        "INSERT INTO account_data (user_id, room_nid, type, json) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (user_id, room_nid, type) DO UPDATE SET json = excluded.json"
        " WHERE account_data.json <> excluded.json",
        (user_id, room_nid, data_type, canonical_json.encode(content).decode()),
    )
    if changed:
        txn.publish(Kind.ACCOUNT_DATA, user_id=user_id, room_nid=room_nid or None, key=data_type)


def change_account_data(
    txn: Transaction, user_id: str, room_nid: int, data_type: str, change: Callable[[JsonObject], JsonObject]
) -> None:
    """Replace the content by what `change` makes of it ({} when there is none), one writer at a time."""
    txn.execute(
        "INSERT INTO account_data (user_id, room_nid, type, json) VALUES (%s, %s, %s, '{}')"
        " ON CONFLICT DO NOTHING",
        (user_id, room_nid, data_type),
    )
    text = txn.value(
        "SELECT json FROM account_data WHERE user_id = %s AND room_nid = %s AND type = %s FOR UPDATE",
        (user_id, room_nid, data_type),
    )
    put_account_data(txn, user_id, room_nid, data_type, change(canonical_json.decode_object(text)))


def delete_account_data(txn: Transaction, user_id: str, room_nid: int, data_type: str) -> None:
    """Whoever follows is told of empty content (MSC3391); nothing happens when there is none."""
    deleted = txn.execute(
        "DELETE FROM account_data WHERE user_id = %s AND room_nid = %s AND type = %s",
        (user_id, room_nid, data_type),
    )
    if deleted:
        txn.publish(Kind.ACCOUNT_DATA, user_id=user_id, room_nid=room_nid or None, key=data_type)


def hold_account_data(txn: Transaction, user_id: str) -> None:
    """Until the transaction ends nobody else who holds it changes what follows from what is there."""
    txn.execute("SELECT FROM users WHERE user_id = %s FOR NO KEY UPDATE", (user_id,))


def read_account_data(txn: Transaction, user_id: str, room_nid: int, data_type: str) -> JsonObject | None:
    text = txn.value(
        "SELECT json FROM account_data WHERE user_id = %s AND room_nid = %s AND type = %s",
        (user_id, room_nid, data_type),
    )
    return None if text is None else canonical_json.decode_object(text)


def account_data_of_users(
    txn: Transaction, user_ids: Collection[str], room_nid: int, data_type: str
) -> dict[str, JsonObject]:
    """As `read_account_data`, by user; those who have none are absent."""
    rows = txn.rows(
        "SELECT user_id, json FROM account_data WHERE user_id = ANY (%s) AND room_nid = %s AND type = %s",
        (list(user_ids), room_nid, data_type),
    )
    return {user_id: canonical_json.decode_object(text) for user_id, text in rows}


def account_data_of(
    txn: Transaction, user_id: str, room_nids: Collection[int], types: Collection[str] | None = None
) -> dict[int, dict[str, JsonObject]]:
    """The contents by room (or `GLOBAL`) and type, of these types only, if given; rooms without any are absent."""
    found: dict[int, dict[str, JsonObject]] = {}
    for room_nid, data_type, text in txn.rows(
        "SELECT room_nid, type, json FROM account_data WHERE user_id = %s AND room_nid = ANY (%s)"
        " AND (%s::text[] IS NULL OR type = ANY (%s::text[])) ORDER BY room_nid, type",
        (user_id, list(room_nids), *[types if types is None else list(types)] * 2),
    ):
        found.setdefault(room_nid, {})[data_type] = canonical_json.decode_object(text)
    return found


def account_data_of_types(
    txn: Transaction, user_id: str, types: Collection[str]
) -> dict[int, dict[str, JsonObject]]:
    """As `account_data_of`, of all the user's rooms."""
    found: dict[int, dict[str, JsonObject]] = {}
    for room_nid, data_type, text in txn.rows(
        "SELECT room_nid, type, json FROM account_data WHERE user_id = %s AND type = ANY (%s)",
        (user_id, list(types)),
    ):
        found.setdefault(room_nid, {})[data_type] = canonical_json.decode_object(text)
    return found


def account_data_size(txn: Transaction, user_id: str) -> tuple[int, int]:
    """How many contents the user has, and their bytes."""
    row = txn.row(
        "SELECT count(*), coalesce(sum(octet_length(json)), 0) FROM account_data WHERE user_id = %s",
        (user_id,),
    )
    return (0, 0) if row is None else (row[0], row[1])


def filter_count(txn: Transaction, user_id: str) -> int:
    count: int = txn.value("SELECT count(*) FROM filters WHERE user_id = %s", (user_id,))
    return count


def add_filter(txn: Transaction, user_id: str, definition: JsonObject) -> int:
    """The id of the filter; the same definition keeps its id."""
    text = canonical_json.encode(definition)
    digest = hashlib.sha256(text).digest()
    txn.execute(
        "INSERT INTO filters (user_id, digest, json) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (user_id, digest, text.decode()),
    )
    return int(
        txn.value("SELECT filter_nid FROM filters WHERE user_id = %s AND digest = %s", (user_id, digest))
    )


def read_filter(txn: Transaction, user_id: str, filter_nid: int) -> JsonObject | None:
    text = txn.value("SELECT json FROM filters WHERE user_id = %s AND filter_nid = %s", (user_id, filter_nid))
    return None if text is None else canonical_json.decode_object(text)
