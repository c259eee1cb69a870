"""What became of a user's memberships since their last sync. Runs in database threads."""

from attrs import frozen

from synapse_lite.handlers.sync.values import Reading
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.state_deltas import membership_deltas


@frozen
class OwnChange:
    """`last` is the newest member event of the user in a room; None: the room's state knows them no longer.

    `before` is their membership at the last sync, `position` that of the last change.
    """

    position: int
    last: StoredEvent | None
    before: str | None
    stayed: bool  # joined at the last sync, and all the time since

    @property
    def membership(self) -> str | None:
        return self.last.event.membership if self.last else None


def read_own_changes(reading: Reading, events: EventStore) -> dict[int, OwnChange]:
    """By room nid, as the current state of the rooms changed, whatever changed it."""
    deltas = membership_deltas(reading.txn, reading.request.user_id, reading.since, reading.position)
    nids = {nid for delta in deltas for nid in (delta.event_nid, delta.previous_nid) if nid is not None}
    members = events.load(reading.txn, nids)
    found: dict[int, OwnChange] = {}
    for delta in deltas:
        last = members.get(delta.event_nid or 0)
        earlier = found.get(delta.room_nid)
        if earlier is None:
            previous = members.get(delta.previous_nid or 0)
            before = previous.event.membership if previous else None
            stayed = before == "join"
        else:
            before, stayed = earlier.before, earlier.stayed
        is_in = last is not None and last.event.membership == "join"
        found[delta.room_nid] = OwnChange(delta.position, last, before, stayed and is_in)
    return found
