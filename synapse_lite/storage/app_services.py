"""What concerns application services, and what was handed to each of them last."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage.database import Transaction


class Move(NamedTuple):
    """Of a user of the server: whether they were joined to the room before this position of the stream, and are since."""

    position: int
    room_nid: int
    user_id: str
    was_in: bool
    is_in: bool


def members(
    txn: Transaction, room_nids: Collection[int], server_name: str, after: int
) -> tuple[list[tuple[int, str]], list[Move]]:
    """(room, user): the server's users who are joined to the rooms now, and who moved since `after`, the last one first.

    Of one moment: one statement.
    """
    rows = txn.rows(
        "SELECT NULL, room_nid, user_id, NULL, NULL FROM memberships"
        " WHERE room_nid = ANY(%s) AND server_name = %s AND membership = 'join'"
        " UNION ALL SELECT d.position, d.room_nid, d.state_key, coalesce(before.membership = 'join', FALSE),"
        " coalesce(now.membership = 'join', FALSE) FROM state_deltas d"
        " LEFT JOIN events before ON before.event_nid = d.previous_nid"
        " LEFT JOIN events now ON now.event_nid = d.event_nid"
        f" WHERE d.room_nid = ANY(%s) AND d.position > %s AND d.type = '{MEMBER}'"
        " AND substr(d.state_key, strpos(d.state_key, ':') + 1) = %s ORDER BY 1 DESC",
        (list(room_nids), server_name, list(room_nids), after, server_name),
    )
    joined = [(row[1], row[2]) for row in rows if row[0] is None]
    return joined, [Move(*row) for row in rows if row[0] is not None and row[3] != row[4]]


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
