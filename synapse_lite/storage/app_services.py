"""What concerns application services, and what was handed to each of them last."""

from collections.abc import Collection, Iterator

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind


def members_since(
    txn: Transaction, room_nids: Collection[int], server_name: str, position: int
) -> Iterator[tuple[int, str]]:
    """(room, user): the server's users who are joined to the rooms, and who has left them since."""
    yield from txn.rows(
        "SELECT room_nid, user_id FROM memberships WHERE room_nid = ANY(%s) AND server_name = %s AND membership = 'join'"
        " UNION SELECT room_nid, s.user_id FROM stream s JOIN memberships m USING (room_nid, event_nid)"
        f" WHERE s.room_nid = ANY(%s) AND kind = {Kind.EVENT:d} AND position > %s AND membership IN ('leave', 'ban')",
        (list(room_nids), server_name, list(room_nids), position),
    )


def aliases_in(txn: Transaction, room_nids: Collection[int]) -> Iterator[tuple[int, str]]:
    """(room, alias)"""
    yield from txn.rows(
        "SELECT room_nid, alias FROM room_aliases WHERE room_nid = ANY(%s)", (list(room_nids),)
    )


def rooms_of_users(txn: Transaction, user_ids: Collection[str]) -> Iterator[tuple[str, int]]:
    """(user, room): where they are joined."""
    yield from txn.rows(
        "SELECT user_id, room_nid FROM memberships WHERE user_id = ANY(%s) AND membership = 'join'",
        (list(user_ids),),
    )


def find_transaction(txn: Transaction, service_id: str, delivery: str) -> tuple[str, str | None] | None:
    """The id of the transaction that was made for this delivery, and its body as JSON; without one it has arrived."""
    row = txn.row(
        "SELECT txn_id, body FROM app_service_transactions WHERE service_id = %s AND delivery = %s",
        (service_id, delivery),
    )
    return (row[0], row[1]) if row else None


def put_transaction(txn: Transaction, service_id: str, delivery: str, txn_id: str, body: str) -> None:
    """In the place of the one before, which has arrived."""
    txn.execute(
        "INSERT INTO app_service_transactions (service_id, delivery, txn_id, body) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (service_id) DO UPDATE SET delivery = excluded.delivery, txn_id = excluded.txn_id,"
        " body = excluded.body",
        (service_id, delivery, txn_id, body),
    )


def note_arrived(txn: Transaction, service_id: str, txn_id: str) -> None:
    """What it said is not kept."""
    txn.execute(
        "UPDATE app_service_transactions SET body = NULL WHERE service_id = %s AND txn_id = %s",
        (service_id, txn_id),
    )


def device_ids(txn: Transaction, user_ids: Collection[str]) -> dict[str, list[str]]:
    """Of the users who have devices."""
    rows = txn.rows(
        "SELECT user_id, array_agg(device_id) FROM devices WHERE user_id = ANY (%s) GROUP BY user_id",
        (list(user_ids),),
    )
    return dict(rows)
