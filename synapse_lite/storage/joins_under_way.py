"""Joins that are on their way to another server: until they end, events of the room wait on the stage."""

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.prepared import Prepared
from synapse_lite.storage.rooms import Room

HELD_SECONDS = 900.0
"""An attempt that takes longer, or whose process died, holds up nothing any more."""

_WHEREABOUTS = Prepared(
    "whereabouts",
    "SELECT EXISTS (SELECT FROM memberships WHERE room_nid = %s AND server_name = %s AND membership = 'join'),"
    " EXISTS (SELECT FROM joins_under_way WHERE room_id = %s AND held_until > clock_timestamp())",
)


@frozen
class Whereabouts:
    """Of a server and a room. `is_in`: one of its users is joined; `is_coming`: one of them is about to be."""

    is_in: bool
    is_coming: bool


def put_join(txn: Transaction, attempt: str, room_id: str) -> None:
    """Before it is sent: from then on the room may speak to us."""
    txn.later("DELETE FROM joins_under_way WHERE held_until < clock_timestamp()")
    txn.later(
        "INSERT INTO joins_under_way (attempt, room_id, held_until)"
        " VALUES (%s, %s, clock_timestamp() + %s * interval '1 second') ON CONFLICT DO NOTHING",
        (attempt, room_id, HELD_SECONDS),
    )


def whereabouts(txn: Transaction, room: Room, server_name: str) -> Whereabouts:
    """Both as of one moment: who has just entered is no longer coming, but was never neither."""
    return Whereabouts(*txn.rows(_WHEREABOUTS, (room.nid, server_name, room.room_id))[0])


def forget_join(txn: Transaction, attempt: str) -> None:
    """It has ended."""
    txn.later("DELETE FROM joins_under_way WHERE attempt = %s", (attempt,))
