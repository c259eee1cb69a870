"""What became of a user's memberships since their last sync. Runs in database threads."""

from attrs import frozen

from synapse_lite.handlers.sync.values import Reading
from synapse_lite.storage import timeline
from synapse_lite.storage.events import EventStore, StoredEvent


@frozen
class OwnChange:
    """`last` is the newest member event of the user in a room, `before` their membership at the last sync."""

    last: StoredEvent
    before: str | None
    stayed: bool  # joined at the last sync, and all the time since

    @property
    def membership(self) -> str | None:
        return self.last.event.membership


def read_own_changes(reading: Reading, events: EventStore) -> dict[int, OwnChange]:
    """By room nid."""
    rows = timeline.own_memberships(reading.txn, reading.request.user_id, reading.since, reading.position)
    members = events.load(reading.txn, [nid for _, _, nid in rows])
    replaced = events.load(
        reading.txn, [one.replaces_nid for one in members.values() if one.replaces_nid is not None]
    )
    found: dict[int, OwnChange] = {}
    for _, room_nid, nid in rows:
        last = members[nid]
        earlier = found.get(room_nid)
        if earlier is None:
            previous = replaced.get(last.replaces_nid or 0)
            before = previous.event.membership if previous else None
            stayed = before == "join"
        else:
            before, stayed = earlier.before, earlier.stayed
        found[room_nid] = OwnChange(last, before, stayed and last.event.membership == "join")
    return found
