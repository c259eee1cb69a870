"""Changes that a follower failed with and went on behind: nothing is left out without a record."""

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Change
from synapse_lite.storage.tasks.rows import FollowerLease

KEPT = 10_000
"""Records of each follower."""

_RECORD = """
INSERT INTO passed_over (follower, shard, position, room_nid, event_id, error, passed_ts)
SELECT %(name)s, %(shard)s, %(position)s, (SELECT room_nid FROM rooms WHERE room_nid = %(room)s),
    (SELECT event_id FROM events WHERE event_nid = %(event)s), %(error)s, now_ms()
"""

_FORGET = """
DELETE FROM passed_over WHERE follower = %(name)s AND shard = %(shard)s AND position <=
    (SELECT position FROM passed_over WHERE follower = %(name)s AND shard = %(shard)s
     ORDER BY position DESC OFFSET %(kept)s LIMIT 1)
"""


@frozen
class PassedOver:
    """`room_id` and `event_id`: what the change was about, where it was about one that there is."""

    follower: str
    shard: int
    position: int
    room_id: str | None
    event_id: str | None
    error: str
    passed_ts: int


def record_passed_over(txn: Transaction, lease: FollowerLease, change: Change, error: str) -> None:
    """Belongs into the transaction that advances the follower; the oldest are forgotten beyond `KEPT`."""
    txn.execute(
        _RECORD,
        {
            "name": lease.name,
            "shard": lease.shard,
            "position": change.position,
            "room": change.room_nid,
            "event": change.event_nid,
            "error": error,
        },
    )
    txn.execute(_FORGET, {"name": lease.name, "shard": lease.shard, "kept": KEPT})


def rooms_passed_over(
    txn: Transaction, lease: FollowerLease, room_nid: int | None, within_ms: int
) -> tuple[bool, int]:
    """Whether the follower passed over another change of the room in that time, and in how many places it did."""
    known, places = txn.row(
        "SELECT coalesce(bool_or(room_nid = %s), FALSE), count(DISTINCT coalesce(room_nid, -position))"
        " FROM passed_over WHERE follower = %s AND shard = %s AND passed_ts > now_ms() - %s",
        (room_nid, lease.name, lease.shard, within_ms),
    ) or (False, 0)
    return known, places


def read_passed_over(txn: Transaction, within_ms: int, limit: int) -> tuple[int, list[PassedOver]]:
    """How many there are of that time, and the newest of them."""
    count = txn.value("SELECT count(*) FROM passed_over WHERE passed_ts > now_ms() - %s", (within_ms,))
    rows = txn.rows(
        "SELECT follower, shard, position, room_id, event_id, error, passed_ts"
        " FROM passed_over LEFT JOIN rooms USING (room_nid)"
        " WHERE passed_ts > now_ms() - %s ORDER BY passed_ts DESC, position DESC LIMIT %s",
        (within_ms, limit),
    )
    return count, [PassedOver(*row) for row in rows]
