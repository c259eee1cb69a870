"""Where the known history of a room has holes, and what is put into them."""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.nids import nid_array
from synapse_lite.storage.stream import Kind, Place, Position


@frozen
class Gap:
    """`missing_event_id` is what an event at the position names among its `prev_events`."""

    missing_event_id: str
    position: int


@frozen
class PlacedHistory:
    """An event that fills a gap; `redacts_nid` is what it empties."""

    event_nid: int
    redacts_nid: int | None = None


def insert_gap(
    txn: Transaction, room_nid: int, missing_event_id: str, event_nid: int, position: Position
) -> None:
    """`event_nid`, at the position, names the missing event among its `prev_events`."""
    txn.later(
        "INSERT INTO room_gaps (room_nid, missing_event_id, event_nid, position) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (room_nid, missing_event_id, event_nid, position),
    )


def gaps_between(txn: Transaction, room_nid: int, low: Place, high: Place, limit: int) -> list[Gap]:
    """The gaps right below events of that stretch of the history, the newest first."""
    rows = txn.rows(
        "SELECT g.missing_event_id, g.position FROM room_gaps g JOIN stream s USING (event_nid)"
        f" WHERE g.room_nid = %s AND s.kind = {Kind.EVENT:d} AND (s.position, s.minor - 1) >= (%s, %s) AND (s.position, s.minor - 1) <= (%s, %s)"
        " ORDER BY s.position DESC, s.minor DESC, g.missing_event_id LIMIT %s",
        (room_nid, *low, *high, limit),
    )
    return [Gap(*row) for row in rows]


def has_gap(txn: Transaction, room_nid: int, low: Place, high: Place) -> bool:
    return bool(gaps_between(txn, room_nid, low, high, 1))


def below_joins(txn: Transaction, room_nid: int, server_name: str) -> list[str]:
    """What is missing right below the joins by which the server came into the room."""
    rows = txn.rows(
        "SELECT DISTINCT missing_event_id FROM room_gaps g JOIN events e USING (event_nid) WHERE g.room_nid = %s"
        " AND e.membership = 'join' AND right(e.sender, length(%s) + 1) = ':' || %s",
        (room_nid, server_name, server_name),
    )
    return [event_id for (event_id,) in rows]


def purged_depth(txn: Transaction, room_nid: int) -> int:
    """Below it the history of the room was purged: the depth of the oldest event that pages show. 0: nothing was."""
    was_purged = f"EXISTS (SELECT FROM stream WHERE room_nid = %s AND kind = {Kind.KEPT:d})"
    depth = txn.value(
        f"SELECT depth FROM stream JOIN events USING (event_nid) WHERE stream.room_nid = %s AND kind = {Kind.EVENT:d}"
        f" AND {was_purged} ORDER BY position, minor LIMIT 1",
        (room_nid, room_nid),
    )
    return depth or 0


def missing_among(txn: Transaction, room_nid: int, event_ids: Collection[str]) -> set[str]:
    """Those of the events that are missing: what is known follows them already."""
    rows = txn.rows(
        "SELECT DISTINCT missing_event_id FROM room_gaps WHERE room_nid = %s AND missing_event_id = ANY(%s)",
        (room_nid, list(event_ids)),
    )
    return {event_id for (event_id,) in rows}


def close_gaps(txn: Transaction, room_nid: int, event_ids: Collection[str]) -> None:
    """These events are missing no longer."""
    txn.execute(
        "DELETE FROM room_gaps WHERE room_nid = %s AND missing_event_id = ANY(%s)",
        (room_nid, list(event_ids)),
    )


def lower_gaps(txn: Transaction, room_nid: int, event_id: str, below: Collection[str]) -> None:
    """One event is missing no longer; where it was, those below it are missing now."""
    txn.execute(
        "INSERT INTO room_gaps (room_nid, missing_event_id, event_nid, position)"
        " SELECT room_nid, below, event_nid, position FROM room_gaps, unnest(%s::text[]) below"
        " WHERE room_nid = %s AND missing_event_id = %s ON CONFLICT DO NOTHING",
        (list(below), room_nid, event_id),
    )
    close_gaps(txn, room_nid, [event_id])


def place_history(txn: Transaction, room_nid: int, position: int, events: Sequence[PlacedHistory]) -> None:
    """Put events, the newest first, below what stands at the position already: in their place, and news to nobody."""
    lowest = txn.value("SELECT coalesce(min(minor), 0) FROM stream WHERE position = %s", (position,))
    nids = [one.event_nid for one in events]
    txn.execute(  # how somebody outside was told of it is no place in the history
        f"UPDATE stream SET event_nid = NULL WHERE event_nid = ANY(%s::bigint[]) AND kind = {Kind.STATE:d}",
        (nid_array(nids),),
    )
    txn.insert(
        "INSERT INTO stream (position, minor, kind, room_nid, event_nid, redacts_nid) VALUES %s",
        [
            (position, lowest - number, int(Kind.EVENT), room_nid, one.event_nid, one.redacts_nid)
            for number, one in enumerate(events, 1)
        ],
        "(%s, %s, %s, %s, %s, %s::bigint)",
    )
