"""What stays of a room in the room that replaced it: of a user tags, the mark of a direct chat, the push rules; its names on this server."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.push_rules import copy_room_rules
from synapse_lite.storage.account_data import (
    GLOBAL,
    change_account_data,
    put_account_data,
    read_account_data,
)
from synapse_lite.storage.aliases import move_aliases
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.room_summary import take_names
from synapse_lite.storage.rooms import Room, is_public, set_public

TAGS, DIRECT, PUSH_RULES = "m.tag", "m.direct", "m.push_rules"


def carry_settings(txn: Transaction, user_id: str, old: Room, new: Room) -> None:
    """Copied, so that they are there for a second replacement too; what the user has set in the new room stays."""
    tags = read_account_data(txn, user_id, old.nid, TAGS)
    if tags and read_account_data(txn, user_id, new.nid, TAGS) is None:
        put_account_data(txn, user_id, new.nid, TAGS, tags)
    if _names(read_account_data(txn, user_id, GLOBAL, DIRECT), old.room_id):
        change_account_data(
            txn, user_id, GLOBAL, DIRECT, lambda direct: _with_successor(direct, old.room_id, new.room_id)
        )
    if read_account_data(txn, user_id, GLOBAL, PUSH_RULES):
        change_account_data(
            txn, user_id, GLOBAL, PUSH_RULES, lambda rules: copy_room_rules(rules, old.room_id, new.room_id)
        )


def carry_names(txn: Transaction, old: Room, new: Room) -> None:
    """The aliases of this server, and the place in its directory: once, so that what is said of the old room afterwards stays."""
    if not take_names(txn, new.nid):
        return
    move_aliases(txn, old.nid, new.nid)
    if is_public(txn, old.nid):
        set_public(txn, new.nid, public=True)
        set_public(txn, old.nid, public=False)


def _names(direct: JsonObject | None, room_id: str) -> bool:
    lists = () if direct is None else direct.values()
    return any(isinstance(rooms, list) and room_id in rooms for rooms in lists)


def _with_successor(direct: JsonObject, old: str, new: str) -> JsonObject:
    return {
        user_id: [*rooms, new] if isinstance(rooms, list) and old in rooms and new not in rooms else rooms
        for user_id, rooms in direct.items()
    }
