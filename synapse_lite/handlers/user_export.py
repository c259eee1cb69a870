"""Everything that the server keeps of one user, for who asks what that is; secrets excepted.

The methods run with a transaction, some rows at a call, so that an export of any size needs little memory.
"""

from collections.abc import Iterator, Sequence

import orjson
from attrs import asdict, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.filters import EventFilter
from synapse_lite.handlers.rendering import render
from synapse_lite.handlers.visibility import Visibility
from synapse_lite.storage import account_data, accounts, devices, rooms, timeline
from synapse_lite.storage import export as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.media import listing
from synapse_lite.storage.media.files import Media
from synapse_lite.storage.stream import Place
from synapse_lite.storage.stripped_state import stripped_of

EVENTS_A_READ = 500
ROWS_A_READ = 500
_EVERYTHING = EventFilter(limit=EVENTS_A_READ)


@frozen
class OwnRoom:
    nid: int
    room_id: str
    membership: str


@frozen
class EventPage:
    """JSON, oldest first; `after` is where to go on, None at the end."""

    events: Sequence[bytes]
    after: Place | None


@frozen
class UserExport:
    events: EventStore
    visibility: Visibility
    clock: Clock

    def profile(self, txn: Transaction, user_id: str) -> JsonObject | None:
        """None for an unknown user."""
        account = accounts.find_account(txn, user_id)
        profile = accounts.read_profile(txn, user_id)
        if account is None or profile is None:
            return None
        return {"user_id": user_id, "profile": profile}

    def devices(self, txn: Transaction, user_id: str) -> list[JsonObject]:
        return [asdict(device) for device in devices.read_devices(txn, user_id)]

    def other_rows(self, txn: Transaction, user_id: str) -> Iterator[tuple[str, list[JsonObject]]]:
        """What else tables keep of the user: by the name of what it is, some rows at a time."""
        for name, what in store.EXPORTED.items():
            after, is_over = None, False
            while not is_over:
                rows, after = store.read_exported(txn, what, user_id, after, ROWS_A_READ)
                is_over = after is None
                if rows:
                    yield name, rows

    def connections(self, txn: Transaction, user_id: str) -> list[JsonObject]:
        """From where each device was used last."""
        return [
            {
                "ip": device.last_seen_ip,
                "last_seen": device.last_seen_ts,
                "user_agent": device.last_seen_user_agent,
            }
            for device in devices.read_devices(txn, user_id)
            if device.last_seen_ts is not None
        ]

    def account_data(self, txn: Transaction, user_id: str, room_nid: int | None) -> JsonObject:
        """By type; `room_nid` None: that of the whole account."""
        nid = account_data.GLOBAL if room_nid is None else room_nid
        return dict(account_data.account_data_of(txn, user_id, [nid]).get(nid, {}))

    def rooms(self, txn: Transaction, user_id: str) -> list[OwnRoom]:
        """Whatever their membership is, forgotten ones too."""
        return [OwnRoom(*row) for row in rooms.all_rooms_of(txn, user_id)]

    def events_of_room(self, txn: Transaction, room: OwnRoom, user_id: str, after: Place) -> EventPage:
        """What the user may see of the room; none of a room to which they are only invited."""
        access = rooms.room_access(txn, room.room_id, user_id)
        try:
            viewer = self.visibility.viewer(txn, access, user_id)
        except MatrixError:
            return EventPage((), None)
        last = viewer.end(Place(0 if access is None else access.now))
        span = (room.nid, after, last)
        entries = timeline.page(txn, span, EVENTS_A_READ, _EVERYTHING, backwards=False)
        seen = self.visibility.only_visible(txn, viewer, entries)
        views = self.events.views(txn, [nid for _, nid in seen])
        shown = self.visibility.as_seen(txn, {room.nid: viewer}, seen, views)
        now_ms = self.clock.now_ms()
        events = [orjson.dumps(render(view, session=None, now_ms=now_ms)) for view in shown]
        return EventPage(events, entries[-1][0] if len(entries) == EVENTS_A_READ else None)

    def state_of_room(self, txn: Transaction, room: OwnRoom) -> list[bytes]:
        """The current state of a room in which they are."""
        nids = rooms.current_event_nids(txn, room.nid) if room.membership == "join" else []
        now_ms = self.clock.now_ms()
        return [
            orjson.dumps(render(view, session=None, now_ms=now_ms)) for view in self.events.views(txn, nids)
        ]

    def stripped_state(self, txn: Transaction, room: OwnRoom, user_id: str) -> list[JsonObject]:
        """What was sent along with an invitation, or an answer to a knock, of a room elsewhere."""
        return list(stripped_of(txn, [room.nid], user_id).get(room.nid, ()))

    def media(self, txn: Transaction, user_id: str, after: Media | None, limit: int) -> list[Media]:
        """The oldest first, those that come behind `after`."""
        return listing.user_media_after(txn, user_id, after, limit)
