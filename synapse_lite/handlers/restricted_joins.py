"""Joins of rooms that admit the members of other rooms (client-server API, "Restricted rooms")."""

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.matrix.auth_rules.state import JOIN_RULES
from synapse_lite.matrix.power_levels import PowerLevels, read_level
from synapse_lite.storage import rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.room_servers import is_in_room
from synapse_lite.storage.rooms import Room

AUTHORISING_USER = "join_authorised_via_users_server"


def authorising_user(
    txn: Transaction, current: CurrentState, room: Room, user_id: str, server_name: str
) -> str | None:
    """Who of this server admits the user; None when they have to get in by another way, or not at all.

    400 `M_UNABLE_TO_GRANT_JOIN` when the user is entitled but nobody here may invite.
    """
    rules = current.one(txn, room.nid, JOIN_RULES)
    allowed = [] if rules is None else allowed_rooms(rules.content)
    if not allowed or not rooms.is_joined_to_any(txn, user_id, allowed, server_name):
        return None
    found = _inviter(txn, room, current.power_levels(txn, room.nid), server_name)
    if found is None:
        raise MatrixError(
            400, Errcode.UNABLE_TO_GRANT_JOIN, "No user of this server may invite others to this room."
        )
    return found


def knows_allowed_rooms(txn: Transaction, join_rules: JsonObject, server_name: str) -> bool:
    """Whether this server can say who is in the rooms whose members may join."""
    known = [rooms.room_by_id(txn, room_id) for room_id in allowed_rooms(join_rules)]
    return all(room is not None and is_in_room(txn, room.nid, server_name) for room in known)


def allowed_rooms(join_rules: JsonObject) -> list[str]:
    """The rooms whose members may join."""
    if join_rules.get("join_rule") not in {"restricted", "knock_restricted"}:
        return []
    allow = join_rules.get("allow")
    conditions = [item for item in allow if isinstance(item, dict)] if isinstance(allow, list) else []
    room_ids = [item.get("room_id") for item in conditions if item.get("type") == "m.room_membership"]
    return [room_id for room_id in room_ids if isinstance(room_id, str) and ids.is_room_id(room_id)]


def _inviter(txn: Transaction, room: Room, levels: PowerLevels, server_name: str) -> str | None:
    """A member from this server with the level to invite, the most powerful of those who have a level."""
    known = {*levels.privileged, *(user_id for user_id in levels.users if _is_level(levels, user_id))}
    able = [
        user_id
        for user_id in known
        if ids.is_local(user_id, server_name) and levels.user(user_id) >= levels.invite
    ]
    joined = rooms.joined_among(txn, room.nid, able)
    if joined:
        return max(joined, key=levels.user)
    if levels.users_default >= levels.invite:
        return rooms.any_joined(txn, room.nid, server_name, known)
    return None


def _is_level(levels: PowerLevels, user_id: str) -> bool:
    return read_level(levels.users[user_id], levels.version) is not None
