"""Where events stood in another server's stream: its tokens, which clients keep for long, name places there."""

from collections.abc import Sequence

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind, Place


def add_places(txn: Transaction, room_nid: int, events: Sequence[tuple[str, int]]) -> None:
    """Ids of events with their places there. Of those that are in pages here."""
    txn.insert(
        "INSERT INTO imported_places (room_nid, ordering, position)"
        f" SELECT s.room_nid, new.ordering, s.position FROM (VALUES %s) AS new (event_id, ordering)"
        f" JOIN events e USING (event_id) JOIN stream s ON s.event_nid = e.event_nid AND s.kind = {Kind.EVENT:d}"
        f" WHERE s.room_nid = {int(room_nid)} ON CONFLICT DO NOTHING",
        events,
    )


def place_of(txn: Transaction, room_id: str, ordering: int) -> Place | None:
    """Behind the last event that stood there or before; None for a room that did not come from there."""
    rows = txn.rows(
        "SELECT coalesce((SELECT position FROM imported_places p WHERE p.room_nid = r.room_nid AND ordering <= %s"
        " ORDER BY ordering DESC LIMIT 1), 0) FROM rooms r WHERE room_id = %s"
        " AND EXISTS (SELECT FROM imported_places p WHERE p.room_nid = r.room_nid)",
        (ordering, room_id),
    )
    return Place(rows[0][0]) if rows else None
