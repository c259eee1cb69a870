"""A sync result from the database: initial syncs, and what the memory of the stream cannot answer."""

from collections.abc import Collection, Mapping

from synapse_lite.handlers.sync.departures import read_departures
from synapse_lite.handlers.sync.extras import global_account_data_changed, read_global_account_data
from synapse_lite.handlers.sync.invitations import read_invitations
from synapse_lite.handlers.sync.own import OwnChange, read_own_changes
from synapse_lite.handlers.sync.rooms import RoomReader
from synapse_lite.handlers.sync.values import Invitation, Reading, SyncRequest, SyncResult
from synapse_lite.handlers.visibility import Visibility
from synapse_lite.storage import rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import quiet_changes, read_position

GONE = ("leave", "ban")


class SyncReader:
    """Reads whole results. The methods run in database threads, in a snapshot."""

    def __init__(self, events: EventStore, state: StateStore, visibility: Visibility) -> None:
        self._events = events
        self._state = state
        self._rooms = RoomReader(events, state, visibility)

    def initial(self, txn: Transaction, request: SyncRequest, now_ms: int) -> SyncResult:
        """Everything, as for a client that knows nothing."""
        reading = Reading(txn, request, 0, read_position(txn), now_ms)
        wanted = ["join", "invite", "knock", *(GONE if request.filter.include_leave else ())]
        found = rooms.memberships_of(txn, request.user_id, wanted)
        named = self._named(reading, [one.room_nid for one in found])
        events = self._events.load(txn, [one.event_nid for one in found])

        def members(*memberships: str) -> dict[int, StoredEvent]:
            return {one.room_nid: events[one.event_nid] for one in found if one.membership in memberships}

        return SyncResult(
            reading.position,
            self._rooms.whole(reading, named, members("join")),
            self._rooms.left(reading, named, members(*GONE), known=()),
            self._invitations(reading, named, members("invite")),
            self._invitations(reading, named, members("knock")),
            read_global_account_data(reading),
        )

    def since(self, txn: Transaction, request: SyncRequest, since: int, now_ms: int) -> SyncResult:
        """What changed after `since`; with `full_state`, all the state of the joined rooms, too."""
        user_id = request.user_id
        reading = Reading(txn, request, since, read_position(txn), now_ms)
        own = read_own_changes(reading, self._events)
        joined = {one.room_nid for one in rooms.memberships_of(txn, user_id, {"join"})}
        named = self._named(reading, joined | own.keys())
        fresh = {nid for nid in joined & own.keys() if not own[nid].stayed}
        steady = {nid: named[nid] for nid in joined - fresh if nid in named}
        changes = quiet_changes(txn, user_id, steady, since, reading.position)
        known = {nid for nid, change in own.items() if change.before == "join"}
        return SyncResult(
            reading.position,
            [
                *self._rooms.steady(reading, steady, changes),
                *self._rooms.whole(reading, named, {nid: own[nid].last for nid in fresh}),
            ],
            [
                *self._rooms.left(reading, named, _members(own, *GONE), known),
                *read_departures(txn, request, since, reading.position),
            ],
            self._invitations(reading, named, _members(own, "invite")),
            self._invitations(reading, named, _members(own, "knock")),
            read_global_account_data(reading) if global_account_data_changed(changes) else [],
        )

    def _named(self, reading: Reading, room_nids: Collection[int]) -> dict[int, str]:
        """Room nid to room id, for the rooms that the filter lets through."""
        takes_room = reading.request.filter.takes_room
        found = rooms.rooms_by_nid(reading.txn, room_nids)
        return {nid: room.room_id for nid, room in found.items() if takes_room(room.room_id)}

    def _invitations(
        self, reading: Reading, named: Mapping[int, str], members: Mapping[int, StoredEvent]
    ) -> list[Invitation]:
        return read_invitations(reading, self._events, self._state, named, members)


def _members(own: Mapping[int, OwnChange], *memberships: str) -> dict[int, StoredEvent]:
    return {nid: change.last for nid, change in own.items() if change.membership in memberships}
