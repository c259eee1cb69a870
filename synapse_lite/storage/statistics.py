"""What each room and each user has written on this server."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.storage.database import Transaction

_SUMS = (
    "count(*) AS events, count(*) FILTER (WHERE type IN ('m.room.message', 'm.room.encrypted')) AS messages,"
    " sum(octet_length(json)) AS bytes, max(received_ts) AS last_event_ts"
)

_ROOMS = f"""
INSERT INTO room_stats AS s (room_nid, state_events, events, messages, bytes, last_event_ts)
SELECT room_nid, count(state_key), {_SUMS} FROM events
WHERE event_nid = ANY(%s) AND room_nid = ANY(%s) GROUP BY room_nid
ON CONFLICT (room_nid) DO UPDATE SET events = s.events + excluded.events,
    state_events = s.state_events + excluded.state_events, messages = s.messages + excluded.messages,
    bytes = s.bytes + excluded.bytes, last_event_ts = greatest(s.last_event_ts, excluded.last_event_ts)
"""

# Held, so that no purge begins meanwhile: what it has deleted must not come back.
_KEPT_ROOMS = """
SELECT room_nid FROM rooms WHERE NOT purging
    AND room_nid IN (SELECT room_nid FROM events WHERE event_nid = ANY(%s)) ORDER BY room_nid FOR KEY SHARE
"""

_USERS = f"""
INSERT INTO user_stats AS s (user_id, events, messages, bytes, last_event_ts)
SELECT sender, {_SUMS} FROM events WHERE event_nid = ANY(%s) GROUP BY sender
ON CONFLICT (user_id) DO UPDATE SET events = s.events + excluded.events,
    messages = s.messages + excluded.messages, bytes = s.bytes + excluded.bytes,
    last_event_ts = greatest(s.last_event_ts, excluded.last_event_ts)
"""


@frozen
class RoomSize:
    """`bytes` of JSON: of all events ever written, redacted and purged ones too."""

    room_id: str
    bytes: int


def count_events(txn: Transaction, event_nids: Collection[int]) -> None:
    """Add events to what their rooms and senders have written. Each event once: nothing here knows."""
    nids = list(event_nids)
    rooms = [room_nid for (room_nid,) in txn.rows(_KEPT_ROOMS, (nids,))]
    txn.later(_ROOMS, (nids, rooms))
    txn.later(_USERS, (nids,))


def clear_statistics(txn: Transaction) -> None:
    """Forget what was counted. Who counts is to be kept from it until the transaction ends."""
    txn.execute("DELETE FROM room_stats")
    txn.execute("DELETE FROM user_stats")


def largest_rooms(txn: Transaction, limit: int) -> list[RoomSize]:
    rows = txn.rows(
        "SELECT r.room_id, s.bytes FROM room_stats s JOIN rooms r USING (room_nid)"
        " ORDER BY s.bytes DESC, s.room_nid LIMIT %s",
        (limit,),
    )
    return [RoomSize(*row) for row in rows]
