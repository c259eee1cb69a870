"""By which event each room is sorted in lists of rooms (MSC4186, "bump_stamp")."""

from collections.abc import Collection, Sequence

from synapse_lite.handlers.filters import EventFilter
from synapse_lite.handlers.shared_reads import SharedReads
from synapse_lite.storage import timeline
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.stream import Change, Kind, read_position

REMEMBERED = 100_000  # rooms
BUMPING = (
    "m.room.create",
    "m.room.message",
    "m.room.encrypted",
    "m.sticker",
    "m.call.invite",
    "m.poll.start",
    "m.beacon_info",
)


class BumpStamps:
    """Remembered for all who see the rooms: give `on_changes` every change, before those who wait wake."""

    def __init__(self, database: Database, events: EventStore) -> None:
        self.database = database
        self._events = events
        self.known: SharedReads[int, int | None] = SharedReads(database, _read_all, REMEMBERED)
        """By room nid, as of now; None where there is no event."""

    def on_changes(self, changes: Sequence[Change]) -> None:
        stored = self._events.cached([one.event_nid for one in changes if one.event_nid is not None])
        for change in changes:
            if change.kind in {Kind.EVENT, Kind.AMENDED} and change.room_nid is not None:
                event = stored.get(change.event_nid or 0)
                if event is None or event.event.type in BUMPING:
                    self.known.forget(change.room_nid)


def read_bump_stamps(txn: Transaction, room_nids: Collection[int], upto: int) -> dict[int, int]:
    """The position of the newest such event of each room, or where the room begins here; rooms without events are absent."""
    return timeline.newest_positions(txn, room_nids, upto, EventFilter(types=BUMPING)) if room_nids else {}


def _read_all(txn: Transaction, room_nids: Collection[int]) -> dict[int, int | None]:
    found = read_bump_stamps(txn, room_nids, read_position(txn))
    return {nid: found.get(nid) for nid in room_nids}
