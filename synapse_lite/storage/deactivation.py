"""Closing an account: at once what lets somebody in, then in slices what it owns."""

from typing import NamedTuple

from synapse_lite.storage import key_backup
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.redact_targets import Redactable, count_to_redact
from synapse_lite.storage.stream import Kind

OWNED = (
    ("account_data", "user_id", "room_nid, type"),
    ("filters", "user_id", "filter_nid"),
    ("sliding_connections", "user_id", "connection_nid"),
    ("thread_subscriptions", "user_id", "room_nid, root_id"),
    ("pushers", "user_id", "app_id, pushkey"),
    ("push_queue", "user_id", "position"),
    ("user_threepids", "user_id", "medium, address"),
    ("presence", "user_id", "user_id"),
    ("delayed_events", "user_id", "delay_id"),
    ("cross_signing_keys", "user_id", "usage"),
    ("key_signatures", "signer_user_id", "target_user_id, target_id, key_id"),
    ("key_signatures", "target_user_id", "target_id, signer_user_id, key_id"),
)
"""Tables of what an account owns: the column of its owner, and what tells its rows apart."""


class OpenRoom(NamedTuple):
    """A room that a user has to leave: joined to, invited to, or asked to be let in."""

    room_nid: int
    room_id: str


def close_account(txn: Transaction, user_id: str, *, erase: bool) -> bool:
    """Nobody gets in any more, by whatever way; False for an unknown user. Once erased, always erased."""
    closed = txn.execute(
        "UPDATE users SET deactivated = TRUE, erased = erased OR %s, password_hash = NULL WHERE user_id = %s",
        (erase, user_id),
    )
    txn.later("DELETE FROM login_tokens WHERE user_id = %s", (user_id,))
    txn.publish(Kind.SESSION, user_id=user_id)
    txn.publish(Kind.PROFILE, user_id=user_id)
    return closed == 1


def reopen_account(txn: Transaction, user_id: str) -> None:
    """The owner may come back, once there is a way to log in; what is deleted stays so."""
    txn.execute("UPDATE users SET deactivated = FALSE, erased = FALSE WHERE user_id = %s", (user_id,))
    txn.publish(Kind.SESSION, user_id=user_id)
    txn.publish(Kind.PROFILE, user_id=user_id)


def is_deactivated(txn: Transaction, user_id: str) -> bool:
    """Locked: nobody reopens the account until the transaction ends. False for an unknown user."""
    return bool(txn.value("SELECT deactivated FROM users WHERE user_id = %s FOR NO KEY UPDATE", (user_id,)))


def devices_of(txn: Transaction, user_id: str, limit: int) -> list[str]:
    rows = txn.rows("SELECT device_id FROM devices WHERE user_id = %s LIMIT %s", (user_id, limit))
    return [device_id for (device_id,) in rows]


def open_rooms(txn: Transaction, user_id: str, after: int, limit: int) -> list[OpenRoom]:
    """The next rooms to leave, by nid."""
    rows = txn.rows(
        "SELECT room_nid, room_id FROM memberships JOIN rooms USING (room_nid)"
        " WHERE user_id = %s AND membership IN ('join', 'invite', 'knock') AND room_nid > %s"
        " ORDER BY room_nid LIMIT %s",
        (user_id, after, limit),
    )
    return [OpenRoom(*row) for row in rows]


def count_open_rooms(txn: Transaction, user_id: str) -> int:
    count: int = txn.value(
        "SELECT count(*) FROM memberships WHERE user_id = %s AND membership IN ('join', 'invite', 'knock')",
        (user_id,),
    )
    return count


def came_late(txn: Transaction, user_id: str, closed_at: int) -> bool:
    """Whether there are events of the user behind this position of the stream that are to be redacted, or media of theirs."""
    written = Redactable(user_id, since=closed_at + 1)
    if count_to_redact(txn, written, room_ids=(), limit=None) != 0:
        return True
    return bool(txn.value("SELECT EXISTS (SELECT FROM media WHERE user_id = %s)", (user_id,)))


def forget_left_rooms(txn: Transaction, user_id: str, limit: int) -> int:
    """Forget at most `limit` rooms that the user has left, or is banned from; how many."""
    return txn.execute(
        "UPDATE memberships SET forgotten = TRUE WHERE user_id = %s AND room_nid IN ("
        " SELECT room_nid FROM memberships WHERE user_id = %s AND membership IN ('leave', 'ban') AND NOT forgotten"
        " ORDER BY room_nid LIMIT %s)",
        (user_id, user_id, limit),
    )


def delete_owned(txn: Transaction, user_id: str, limit: int) -> int:
    """Delete at most `limit` rows of what the account owns; how many."""
    for table, owner, key in OWNED:
        deleted = txn.execute(
            f"DELETE FROM {table} WHERE {owner} = %s AND ({key}) IN"
            f" (SELECT {key} FROM {table} WHERE {owner} = %s LIMIT %s)",
            (user_id, user_id, limit),
        )
        if deleted:
            return deleted
    key_backup.delete_all_versions(txn, user_id)  # their keys go in the background
    return 0


def clear_profile(txn: Transaction, user_id: str) -> None:
    txn.execute(
        "UPDATE users SET displayname = NULL, avatar_url = NULL, profile_fields = '{}' WHERE user_id = %s",
        (user_id,),
    )
