"""How the current state of rooms changed, by position of the stream.

Who asks what changed in a stretch of the stream reads it here, not from the events there: an event may
lose against others when branches meet, and events from further back may come into force.
"""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.matrix.event import StateKey
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Position

Span = tuple[int, int, int]  # room nid, and the stretch of the stream: after < position <= upto


@frozen
class Delta:
    """`event_nid` None: the key is set no longer; `previous_nid` None: it was not set before."""

    position: int
    room_nid: int
    key: StateKey
    event_nid: int | None
    previous_nid: int | None


def insert_delta(
    txn: Transaction,
    position: Position,
    room_nid: int,
    key: StateKey,
    event_nid: int | None,
    previous_nid: int | None,
) -> None:
    """A `Delta`, only of what is in force: under the lock of the stream (see `Transaction.publish`)."""
    txn.insert_row(
        "INSERT INTO state_deltas (position, room_nid, type, state_key, event_nid, previous_nid) VALUES %s",
        (position, room_nid, *key, event_nid, previous_nid),
    )


def deltas_in(txn: Transaction, spans: Collection[Span]) -> dict[int, list[Delta]]:
    """Of each room its deltas in the span, in order, in one statement."""
    if not spans:
        return {}
    rows = txn.rows(
        "SELECT d.* FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS r (room_nid, after, upto)"
        " CROSS JOIN LATERAL (SELECT position, room_nid, type, state_key, event_nid, previous_nid"
        "  FROM state_deltas s WHERE (s.room_nid, s.position) > (r.room_nid, r.after)"
        "  AND (s.room_nid, s.position) <= (r.room_nid, r.upto)"
        "  ORDER BY s.room_nid, s.position OFFSET 0) AS d ORDER BY d.position",
        tuple([span[part] for span in spans] for part in range(3)),
    )
    found: dict[int, list[Delta]] = {}
    for position, room_nid, kind, state_key, event_nid, previous_nid in rows:
        found.setdefault(room_nid, []).append(
            Delta(position, room_nid, (kind, state_key), event_nid, previous_nid)
        )
    return found


def net_changes(txn: Transaction, spans: Collection[Span]) -> dict[int, dict[StateKey, int | None]]:
    """Of each room what its current state says at the end of the span, of the keys that changed in it.

    A key that has the same event as before is left out; None: the key is set no longer.
    """
    changes: dict[int, dict[StateKey, int | None]] = {}
    for room_nid, deltas in deltas_in(txn, spans).items():
        before = {delta.key: delta.previous_nid for delta in reversed(deltas)}
        after = {delta.key: delta.event_nid for delta in deltas}
        changes[room_nid] = {key: nid for key, nid in after.items() if nid != before[key]}
    return changes


def membership_deltas(txn: Transaction, user_id: str, after: int, upto: int) -> list[Delta]:
    """How the user's memberships changed at after < position <= upto, in order."""
    rows = txn.rows(
        "SELECT position, room_nid, type, state_key, event_nid, previous_nid FROM state_deltas"
        f" WHERE type = '{MEMBER}' AND state_key = %s AND position > %s AND position <= %s ORDER BY position",
        (user_id, after, upto),
    )
    return [Delta(row[0], row[1], (row[2], row[3]), row[4], row[5]) for row in rows]
