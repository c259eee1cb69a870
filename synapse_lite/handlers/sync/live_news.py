"""What of the stream in memory concerns a client, and the events among it, as both forms of /sync show them."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import frozen

from synapse_lite.handlers.filters import EventFilter
from synapse_lite.handlers.retention import Retention
from synapse_lite.handlers.sync.joined import JoinedRooms, JoinedRoomsReader, is_own_membership
from synapse_lite.handlers.sync.live_state import LiveState, Member, MemberAt
from synapse_lite.handlers.sync.sections import Sections
from synapse_lite.handlers.sync.state import cut
from synapse_lite.handlers.sync.values import RoomIds, SyncRequest
from synapse_lite.handlers.sync.windows import FEW, MAX_BYTES, Window, newest
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage.events import EventStore, StoredEvent, View, view
from synapse_lite.storage.stream import AFTER_GAP, KINDS, NOT_IN_FORCE, Change, Kind, Place, Scope
from synapse_lite.storage.timeline import Entry


@frozen
class News:
    """The changes that concern a client, and the events among them: by nid, and of each room in order."""

    changes: Sequence[Change]
    rooms: RoomIds  # those of them that the filter takes
    stored: Mapping[int, StoredEvent]
    entries: Mapping[int, Sequence[Entry]]
    redactions: Mapping[int, StoredEvent]

    @property
    def replaced_nids(self) -> set[int]:
        """The state events that these replaced."""
        return {one.replaces_nid for one in self.stored.values() if one.replaces_nid is not None}

    def window(
        self, room_nid: int, room_id: str, selection: EventFilter, position: int
    ) -> tuple[Window, list[Entry]]:
        """The timeline of a room, and all that the selection takes, whatever its limit."""
        chosen = [
            entry
            for entry in self.entries.get(room_nid, ())
            if selection.takes_in(room_id, self.stored[entry[1]].event)
        ]
        window = newest(chosen, chosen, selection.limit, Place(position))
        shown = {self.stored[nid].event.key: nid for nid in window.nids if self.stored[nid].event.is_state}
        return cut(window, shown, self.final_state(room_nid)), chosen

    def final_state(self, room_nid: int) -> dict[tuple[str, str], int]:
        """The state that the events set, as it is after the last of them."""
        events = [self.stored[nid] for _, nid in self.entries.get(room_nid, ())]
        return {one.event.key: one.nid for one in events if one.event.is_state}


@frozen
class Surroundings:
    """What they need of the rooms' state: members, and events by nid (None: purged)."""

    members: Mapping[Member, MemberAt]
    views: Mapping[int, View | None]

    def view(self, news: News, nid: int) -> View | None:
        """An event as a client gets it; None when it was purged."""
        event = self._known(news, nid)
        if event is None:
            return None
        replaces = event.stored.replaces_nid
        replaced = None if replaces is None else self._known(news, replaces)
        known = [one for one in (event, replaced) if one is not None]
        return view(
            event.stored,
            {one.stored.nid: one.stored for one in known},
            {one.stored.nid: one.redaction for one in known if one.redaction is not None},
        )

    def _known(self, news: News, nid: int) -> View | None:
        stored = news.stored.get(nid)
        return self.views.get(nid) if stored is None else View(stored, news.redactions.get(nid))


async def surroundings(state: LiveState, news: News, members: Collection[Member]) -> Surroundings:
    """With the member events of these, each read once for all who wait."""
    found = await state.members.of(members)
    nids = {
        nid for member in found.values() for nid in (member.nid, member.replaces_nid)
    } | news.replaced_nids
    wanted = [nid for nid in nids if nid is not None and nid not in news.stored]
    return Surroundings(found, await state.views.of(wanted))


@frozen
class NewsReader:
    """Serves rooms in which the user was joined all the time; what memory cannot tell is None."""

    log: ChangeLog
    events: EventStore
    joined: JoinedRoomsReader
    retention: Retention
    sections: Sections

    def changes(self, request: SyncRequest, since: int, joined: JoinedRooms) -> list[Change] | None:
        """Those after `since` that concern the client, up to what the log has seen."""
        changes = self.log.since(since)
        if changes is None or self.log.is_behind or joined.position > self.log.position:
            return None
        return self._mine(request, changes, joined.rooms)

    def of(self, request: SyncRequest, changes: Sequence[Change], rooms: RoomIds) -> News | None:
        stored = self.events.cached([nid for change in changes if (nid := change.about_nid) is not None])
        if self.retention.may_hide(stored.values()):
            return None
        entries: dict[int, list[Entry]] = {}
        redactions: dict[int, StoredEvent] = {}
        for change in changes:
            if change.kind is Kind.STATE or change.key in {NOT_IN_FORCE, AFTER_GAP}:
                return None  # what the state is now, and what is missing, the database tells
            if change.kind not in {Kind.EVENT, Kind.REDACTED} or change.about_nid is None:
                continue
            found = stored.get(change.about_nid)
            if found is None:
                return None
            if change.redacts_nid is not None:
                known = redactions.setdefault(change.redacts_nid, found)
                redactions[change.redacts_nid] = min(known, found, key=lambda redaction: redaction.nid)
            if change.kind is Kind.EVENT:
                entries.setdefault(found.room_nid, []).append((Place(change.position), found.nid))
        if len(stored) > FEW and sum(len(one.client_json) for one in stored.values()) > MAX_BYTES:
            return None
        takes = request.filter.takes_room
        touched = {change.room_nid for change in changes if change.room_nid in rooms}
        taken = {nid: rooms[nid] for nid in touched if nid is not None and takes(rooms[nid])}
        return News(changes, taken, stored, entries, redactions)

    def _mine(self, request: SyncRequest, changes: Iterable[Change], rooms: RoomIds) -> list[Change] | None:
        mine = []
        due = self.log.told_at_leisure if request.takes_presence and rooms else 0
        for change in changes:
            if change.kind is Kind.PRESENCE and change.user_id != request.user_id:
                if change.position <= due and self._share(change, rooms):
                    mine.append(change)
            elif change.concerns(request.user_id, rooms):
                if is_own_membership(change, request.user_id):
                    return None
                if change.is_for(request.user_id, request.device_id):
                    mine.append(change)
            elif KINDS[change.kind].scope is Scope.SHARED and change.kind in self.sections.kinds:
                theirs = self.joined.known(change.user_id or "")
                if theirs is None:
                    return None
                if theirs.rooms.keys() & rooms.keys():
                    mine.append(change)
        return mine

    def _share(self, change: Change, rooms: RoomIds) -> bool:
        """Whether its user is in one of them. Of whom memory knows nothing, the answer tells in any case."""
        theirs = self.joined.known(change.user_id or "")
        return theirs is not None and not theirs.rooms.keys().isdisjoint(rooms)
