"""Which ends of a room are left beside events that are put into it."""

from collections.abc import Collection, Iterable

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, Standing, StoredEvent
from synapse_lite.storage.heads import RoomHead
from synapse_lite.storage.room_gaps import lower_gaps, missing_among

_OUTSIDE = frozenset({Standing.SOFT_FAILED, Standing.REJECTED})


def tips_left(
    txn: Transaction, events: EventStore, head: RoomHead, previous: Iterable[StoredEvent]
) -> list[StoredEvent]:
    """The extremities that are not among the previous events, neither themselves nor through events outside the room's graph."""
    followed: set[str] = set()
    frontier = list(previous)
    while frontier:
        followed.update(stored.event_id for stored in frontier)
        below = {
            event_id
            for stored in frontier
            if stored.standing in _OUTSIDE
            for event_id in stored.event.prev_events
        }
        frontier = list(events.by_ids(txn, below - followed).values()) if below else []
    tips = events.load(txn, head.extremities).values()
    return [tip for tip in tips if tip.event_id not in followed]


def missing_below(txn: Transaction, events: EventStore, previous: Iterable[StoredEvent]) -> set[str]:
    """What is not known of the events below those previous ones that are outside the room's graph: nobody else leads there."""
    missing: set[str] = set()
    seen: set[str] = set()
    frontier = [stored for stored in previous if stored.standing in _OUTSIDE]
    while frontier:
        below = {event_id for stored in frontier for event_id in stored.event.prev_events} - seen
        seen |= below
        known = events.by_ids(txn, below) if below else {}
        missing |= {event_id for event_id in below if event_id not in known or not known[event_id].is_placed}
        frontier = [stored for stored in known.values() if stored.standing in _OUTSIDE]
    return missing


def fill_gaps(txn: Transaction, events: EventStore, room_nid: int, known: Collection[StoredEvent]) -> None:
    """These events of a room are missing no longer; what is not known below those outside the room's graph is so in their place."""
    by_id = {stored.event_id: stored for stored in known}
    for event_id in missing_among(txn, room_nid, by_id.keys()):
        lower_gaps(txn, room_nid, event_id, missing_below(txn, events, [by_id[event_id]]))
