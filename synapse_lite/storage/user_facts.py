"""What operators ask about a user: rooms, invites, data, connections."""

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.database import Transaction


def memberships_by_room(txn: Transaction, user_id: str) -> dict[str, str]:
    """Room id to membership, forgotten rooms too."""
    return dict(
        txn.rows(
            "SELECT room_id, membership FROM memberships JOIN rooms USING (room_nid) WHERE user_id = %s"
            " ORDER BY room_id",
            (user_id,),
        )
    )


def count_invites(txn: Transaction, sender: str, since_ms: int) -> int:
    """How many invites the user has sent that arrived here since then."""
    return int(
        txn.value(
            "SELECT count(*) FROM events WHERE sender = %s AND received_ts >= %s"
            " AND membership = 'invite' AND standing = 0",
            (sender, since_ms),
        )
    )


def count_joined_rooms(txn: Transaction, user_id: str, since_ms: int) -> int:
    """How many rooms the user has joined since then, whether they are still there or not."""
    return int(
        txn.value(
            "SELECT count(DISTINCT room_nid) FROM events WHERE state_key = %s AND received_ts >= %s"
            " AND membership = 'join' AND standing = 0",
            (user_id, since_ms),
        )
    )


def account_data_by_room(txn: Transaction, user_id: str) -> dict[str | None, dict[str, JsonObject]]:
    """Contents by room id (None: of no room) and type."""
    found: dict[str | None, dict[str, JsonObject]] = {}
    for room_id, data_type, json in txn.rows(
        "SELECT room_id, type, json FROM account_data LEFT JOIN rooms USING (room_nid) WHERE user_id = %s"
        " AND (room_nid = 0 OR room_id IS NOT NULL) ORDER BY room_nid, type",
        (user_id,),
    ):
        found.setdefault(room_id, {})[data_type] = canonical_json.decode_object(json)
    return found
