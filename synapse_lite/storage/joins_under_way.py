"""Joins that are on their way to another server: until they end, events of the room wait on the stage."""

from synapse_lite.storage.database import Transaction

HELD_SECONDS = 900.0
"""An attempt that takes longer, or whose process died, holds up nothing any more."""


def put_join(txn: Transaction, attempt: str, room_id: str) -> None:
    """Before it is sent: from then on the room may speak to us."""
    txn.later("DELETE FROM joins_under_way WHERE held_until < clock_timestamp()")
    txn.later(
        "INSERT INTO joins_under_way (attempt, room_id, held_until)"
        " VALUES (%s, %s, clock_timestamp() + %s * interval '1 second') ON CONFLICT DO NOTHING",
        (attempt, room_id, HELD_SECONDS),
    )


def is_joining(txn: Transaction, room_id: str) -> bool:
    row = txn.row(
        "SELECT FROM joins_under_way WHERE room_id = %s AND held_until > clock_timestamp() LIMIT 1",
        (room_id,),
    )
    return row is not None


def forget_join(txn: Transaction, attempt: str) -> None:
    """It has failed."""
    txn.later("DELETE FROM joins_under_way WHERE attempt = %s", (attempt,))


def forget_joins(txn: Transaction, room_id: str) -> None:
    """The room is entered: whatever comes has its place."""
    txn.later("DELETE FROM joins_under_way WHERE room_id = %s", (room_id,))
