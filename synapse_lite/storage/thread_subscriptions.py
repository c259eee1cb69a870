"""Which threads users follow (MSC4306)."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind, Position


@frozen
class Subscription:
    """`position` is that of its last change."""

    room_id: str
    root_id: str
    subscribed: bool
    automatic: bool
    position: int


_COLUMNS = "r.room_id, s.root_id, s.subscribed, s.automatic, s.position"


def find_subscription(txn: Transaction, room_nid: int, user_id: str, root_id: str) -> Subscription | None:
    """As it was last, also one that the user ended."""
    row = txn.row(
        f"SELECT {_COLUMNS} FROM thread_subscriptions s JOIN rooms r USING (room_nid)"
        " WHERE s.room_nid = %s AND s.user_id = %s AND s.root_id = %s",
        (room_nid, user_id, root_id),
    )
    return Subscription(*row) if row else None


def count_subscriptions(txn: Transaction, user_id: str) -> int:
    return int(txn.value("SELECT count(*) FROM thread_subscriptions WHERE user_id = %s", (user_id,)))


def put_subscription(
    txn: Transaction, room_nid: int, user_id: str, root_id: str, *, subscribed: bool, automatic: bool
) -> None:
    def record(txn: Transaction, position: Position) -> None:
        txn.later(
            "INSERT INTO thread_subscriptions (room_nid, user_id, root_id, subscribed, automatic, position)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (room_nid, user_id, root_id) DO UPDATE SET"
            " subscribed = excluded.subscribed, automatic = excluded.automatic, position = excluded.position",
            (room_nid, user_id, root_id, subscribed, automatic, position),
        )

    txn.publish(Kind.THREAD_SUBSCRIPTION, room_nid=room_nid, user_id=user_id, key=root_id, at_position=record)


def followed_threads(txn: Transaction, user_id: str, room_nids: Collection[int]) -> dict[int, set[str]]:
    """The roots of the threads that the user follows, by room; rooms without any are absent."""
    rows = txn.rows(
        "SELECT room_nid, array_agg(root_id) FROM thread_subscriptions"
        " WHERE user_id = %s AND room_nid = ANY (%s) AND subscribed GROUP BY room_nid",
        (user_id, list(room_nids)),
    )
    return {room_nid: set(root_ids) for room_nid, root_ids in rows}


def followers(txn: Transaction, room_nid: int, root_id: str, user_ids: Collection[str]) -> set[str]:
    """Those of the users who follow the thread."""
    rows = txn.rows(
        "SELECT user_id FROM thread_subscriptions"
        " WHERE room_nid = %s AND root_id = %s AND user_id = ANY (%s) AND subscribed",
        (room_nid, root_id, list(user_ids)),
    )
    return {user_id for (user_id,) in rows}


def changed_subscriptions(
    txn: Transaction, user_id: str, after: int, upto: int, limit: int
) -> list[Subscription]:
    """The newest first, of those that changed at after < position <= upto."""
    rows = txn.rows(
        f"SELECT {_COLUMNS} FROM thread_subscriptions s JOIN rooms r USING (room_nid)"
        " WHERE s.user_id = %s AND s.position > %s AND s.position <= %s ORDER BY s.position DESC LIMIT %s",
        (user_id, after, upto, limit),
    )
    return [Subscription(*row) for row in rows]
