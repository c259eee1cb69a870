"""What became of a user's memberships since their last sync. Runs in database threads."""

from attrs import frozen

from synapse_lite.handlers.sync.values import Reading
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.state_deltas import membership_deltas


@frozen
class OwnChange:
    """`event_nid` is the newest member event of the user in a room; None: the room's state knows them no longer.

    `before` is their membership at the last sync, `position` that of the last change.
    """

    position: int
    event_nid: int | None
    membership: str | None
    before: str | None
    stayed: bool  # joined at the last sync, and all the time since


def read_own_changes(reading: Reading, events: EventStore) -> dict[int, OwnChange]:
    """By room nid, as the current state of the rooms changed, whatever changed it. No event is read: one may be broken."""
    deltas = membership_deltas(reading.txn, reading.request.user_id, reading.since, reading.position)
    nids = {nid for delta in deltas for nid in (delta.event_nid, delta.previous_nid) if nid is not None}
    members = events.memberships(reading.txn, nids) if nids else {}
    found: dict[int, OwnChange] = {}
    for delta in deltas:
        membership = members.get(delta.event_nid or 0)
        earlier = found.get(delta.room_nid)
        if earlier is None:
            before = members.get(delta.previous_nid or 0)
            stayed = before == "join"
        else:
            before, stayed = earlier.before, earlier.stayed
        stayed = stayed and membership == "join"
        found[delta.room_nid] = OwnChange(delta.position, delta.event_nid, membership, before, stayed)
    return found
