"""Which ends of a room are left beside events that are put into it."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, Standing, StoredEvent
from synapse_lite.storage.heads import RoomHead
from synapse_lite.storage.room_gaps import lower_gaps, missing_among

MOST_FOLLOWED = 100
"""Events outside the room's graph that are followed below one that is put into it: who sends long chains of them would have
each event that follows one walk down all of it. An end farther down stays one until an event of ours follows it.
"""
_OUTSIDE = frozenset({Standing.SOFT_FAILED, Standing.REJECTED})


def tips_left(
    txn: Transaction, events: EventStore, head: RoomHead, previous: Collection[StoredEvent]
) -> list[StoredEvent]:
    """The extremities that are not among the previous events, neither themselves nor through events outside the room's graph."""
    followed = {stored.event_id for stored in previous}
    for _, known in _levels_below(txn, events, previous):
        followed |= known.keys()
    tips = events.load(txn, head.extremities).values()
    return [tip for tip in tips if tip.event_id not in followed]


def missing_below(txn: Transaction, events: EventStore, previous: Iterable[StoredEvent]) -> set[str]:
    """What is not known of the events below those previous ones that are outside the room's graph: nobody else leads there."""
    return {
        event_id
        for below, known in _levels_below(txn, events, previous)
        for event_id in below
        if event_id not in known or not known[event_id].is_placed
    }


def fill_gaps(txn: Transaction, events: EventStore, room_nid: int, known: Collection[StoredEvent]) -> None:
    """These events of a room are missing no longer; what is not known below those outside the room's graph is so in their place."""
    by_id = {stored.event_id: stored for stored in known}
    for event_id in missing_among(txn, room_nid, by_id.keys()):
        lower_gaps(txn, room_nid, event_id, missing_below(txn, events, [by_id[event_id]]))


def _levels_below(
    txn: Transaction, events: EventStore, previous: Iterable[StoredEvent]
) -> Iterator[tuple[set[str], Mapping[str, StoredEvent]]]:
    """What those of the events follow that are outside the room's graph, level by level: the ids, and what is known of them."""
    seen: set[str] = set()
    frontier, left = list(previous), MOST_FOLLOWED
    while left > 0:
        outside = [stored for stored in frontier if stored.standing in _OUTSIDE][:left]
        below = {event_id for stored in outside for event_id in stored.event.prev_events} - seen
        if not below:
            return
        known = events.by_ids(txn, below)
        yield below, known
        seen |= below
        left -= len(outside)
        frontier = list(known.values())
