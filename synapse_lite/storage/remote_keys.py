"""Public keys of other servers' users: kept as long as their servers tell when they change."""

from collections.abc import Collection, Mapping

from synapse_lite.storage.database import Transaction


def cached_size(txn: Transaction, user_ids: Collection[str]) -> int:
    """Bytes of what `cached_keys` finds."""
    sql = "SELECT coalesce(sum(octet_length(json)), 0) FROM remote_keys WHERE user_id = ANY(%s)"
    return int(txn.value(sql, (list(user_ids),)))


def cached_keys(txn: Transaction, user_ids: Collection[str]) -> dict[str, str]:
    """JSON of those of the users whose keys are known, as of now."""
    rows = txn.rows(
        "SELECT user_id, json FROM remote_keys WHERE user_id = ANY(%s) AND json IS NOT NULL",
        (list(user_ids),),
    )
    return dict(rows)


def sharing_users(txn: Transaction, user_ids: Collection[str], server_name: str) -> list[str]:
    """Those of the users with whom one of ours (of `server_name`) shares a room."""
    rows = txn.rows(
        "SELECT user_id FROM unnest(%s::text[]) AS u (user_id) WHERE EXISTS (SELECT FROM memberships m"
        " JOIN memberships o ON o.room_nid = m.room_nid AND o.server_name = %s AND o.membership = 'join'"
        " WHERE m.user_id = u.user_id AND m.membership = 'join') ORDER BY user_id",
        (list(user_ids), server_name),
    )
    return [user_id for (user_id,) in rows]


def begin_asking(txn: Transaction, user_ids: Collection[str], server_name: str) -> dict[str, int]:
    """Those of the users with whom one of ours (of `server_name`) shares a room, and what was heard of them so far."""
    sharing = sharing_users(txn, user_ids, server_name)
    txn.insert(
        "INSERT INTO remote_keys (user_id) VALUES %s ON CONFLICT DO NOTHING", [(one,) for one in sharing]
    )
    return dict(txn.rows("SELECT user_id, generation FROM remote_keys WHERE user_id = ANY(%s)", (sharing,)))


def keep_keys(txn: Transaction, keys: Mapping[str, str], generations: Mapping[str, int]) -> None:
    """What a server answered, unless something was heard since it was asked: then it may be old."""
    kept = sorted(user_id for user_id in keys if user_id in generations)
    txn.execute(
        "UPDATE remote_keys r SET json = k.json"
        " FROM unnest(%s::text[], %s::bigint[], %s::text[]) AS k (user_id, generation, json)"
        " WHERE (r.user_id, r.generation) = (k.user_id, k.generation)",
        (kept, [generations[one] for one in kept], [keys[one] for one in kept]),
    )


def note_change(txn: Transaction, user_id: str) -> None:
    """The keys of the user are no longer what they were."""
    txn.execute(
        "UPDATE remote_keys SET generation = generation + 1, json = NULL WHERE user_id = %s", (user_id,)
    )


def forget_keys(txn: Transaction, user_ids: Collection[str]) -> None:
    if user_ids:
        txn.execute("DELETE FROM remote_keys WHERE user_id = ANY(%s)", (sorted(user_ids),))


def forget_keys_of_room(txn: Transaction, room_nid: int, server_name: str) -> None:
    """Unless one of our users is still in the room."""
    txn.execute(
        "DELETE FROM remote_keys WHERE user_id IN (SELECT user_id FROM memberships"
        "  WHERE room_nid = %s AND membership = 'join')"
        " AND NOT EXISTS (SELECT FROM memberships WHERE room_nid = %s AND server_name = %s AND membership = 'join')",
        (room_nid, room_nid, server_name),
    )
