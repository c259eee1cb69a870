"""What a sync shows of rooms that the user is in, or was in. Runs in database threads."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from attrs import evolve

from synapse_lite.handlers.aggregations import Reader, with_aggregations
from synapse_lite.handlers.sync.sections import RoomParts, Sections, gather, of_kinds
from synapse_lite.handlers.sync.state import RoomStates, States, Windows
from synapse_lite.handlers.sync.values import Reading, RoomDelta, RoomIds
from synapse_lite.handlers.sync.windows import Window, newest, within_bytes
from synapse_lite.handlers.visibility import Viewer, Visibility
from synapse_lite.storage import timeline
from synapse_lite.storage.events import EventStore, StoredEvent, View
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.storage.timeline import Entry

Viewers = Mapping[int, Viewer]  # by room nid


class RoomReader:
    """Puts the sections of rooms together, each kind of room with a few statements for all of them."""

    def __init__(
        self, events: EventStore, state: StateStore, visibility: Visibility, sections: Sections
    ) -> None:
        self._events = events
        self._states = RoomStates(events, state)
        self._visibility = visibility
        self._sections = sections

    def incremental(self, reading: Reading, rooms: RoomIds, changes: Sequence[Change]) -> list[RoomDelta]:
        """Rooms in which the user has been all the time: what is new; `changes` are those that are no events."""
        request, spans = reading.request, [(nid, reading.since, reading.position) for nid in rooms]
        found = self._entries(reading, rooms, spans)
        shown = {*self._visibility.unexpired(reading.txn, [*chain(*found.values())])}
        windows = {
            nid: newest(
                entries,
                [entry for entry in entries if entry in shown],
                request.filter.timeline.limit,
                reading.end,
            )
            for nid, entries in found.items()
        }
        windows = within_bytes(reading.txn, self._events, windows)
        if request.full_state:
            windows = {nid: windows.get(nid) or Window((), False, reading.end) for nid in rooms}
            parts = self._parts(reading, rooms, None)
            windows, states = self._states.full(reading, windows, _heroes(parts))
            return self._deltas(reading, rooms, windows, states, parts)
        windows, states = self._states.incremental(reading, rooms, windows)
        events = self._load(reading, windows, states).values()
        gaps = [Change(0, Kind.EVENT, nid) for nid, one in windows.items() if one.limited and not one.nids]
        parts = self._parts(reading, rooms, [*changes, *map(_change, events), *gaps])
        if request.is_lazy:
            self._states.add_senders(reading, windows, states)
        deltas = self._deltas(reading, rooms, windows, states, parts)
        return [delta for delta in deltas if not delta.is_empty]

    def newly_joined(
        self, reading: Reading, rooms: RoomIds, members: Mapping[int, StoredEvent], known: Collection[int]
    ) -> list[RoomDelta]:
        """Joined rooms that start anew; `members` are the user's member events there.

        A room that is new to an old client has a gap before its timeline, whatever the timeline shows. Of
        those in `known` the client has what was before `since`: of others' member events, too.
        """
        rooms = {nid: rooms[nid] for nid in members if nid in rooms}
        if not rooms:
            return []
        viewers = self._viewers(reading, rooms, members)
        found = self._entries(reading, rooms, [(nid, 0, reading.position) for nid in rooms])
        windows = {nid: self._window(reading, viewers[nid], found.get(nid, ())) for nid in rooms}
        if reading.request.since is not None:
            windows = {nid: evolve(window, limited=True) for nid, window in windows.items()}
        windows = within_bytes(reading.txn, self._events, windows)
        parts = self._parts(reading, rooms, None)
        windows, states = self._states.full(reading, windows, _heroes(parts))
        for nid in rooms.keys() & known:
            self._states.add_changes(reading, nid, windows[nid], states)
        return self._deltas(reading, rooms, windows, states, parts, viewers)

    def archived(
        self, reading: Reading, rooms: RoomIds, members: Mapping[int, StoredEvent], known: Collection[int]
    ) -> list[RoomDelta]:
        """Rooms that the user is out of, until then; of those in `known` the client has what was before `since`.

        Who was not in the room meanwhile sees their own member event, nothing else.
        """
        rooms = {nid: rooms[nid] for nid in members if nid in rooms}
        viewers = self._viewers(reading, rooms, members)
        after = {nid: reading.since if nid in known else 0 for nid in viewers}
        windows = {
            nid: self._archived_window(reading, nid, rooms[nid], viewer, after[nid])
            for nid, viewer in viewers.items()
        }
        windows = within_bytes(reading.txn, self._events, windows)
        states = {
            nid: self._archived_state(reading, nid, viewer, windows[nid], after[nid])
            for nid, viewer in viewers.items()
        }
        return self._deltas(reading, rooms, windows, states, gather(()), viewers)

    def _viewers(self, reading: Reading, rooms: RoomIds, members: Mapping[int, StoredEvent]) -> Viewers:
        of_rooms = {nid: members[nid] for nid in rooms}
        return self._visibility.viewers(reading.txn, reading.request.user_id, of_rooms)

    # Timelines

    def _entries(
        self, reading: Reading, rooms: RoomIds, spans: Collection[timeline.LiveSpan]
    ) -> dict[int, list[Entry]]:
        """The newest events that the filter takes, one more than its limit."""
        selection = reading.request.filter.timeline
        wanted = [span for span in spans if selection.takes_room(rooms[span[0]])]
        return timeline.windows(reading.txn, wanted, selection.limit + 1, selection) if wanted else {}

    def _window(self, reading: Reading, viewer: Viewer, entries: Sequence[Entry]) -> Window:
        visible = self._visibility.only_visible(reading.txn, viewer, entries)
        return newest(entries, visible, reading.request.filter.timeline.limit, reading.end)

    def _archived_window(
        self, reading: Reading, nid: int, room_id: str, viewer: Viewer, after: int
    ) -> Window:
        entries: list[Entry] = []
        if viewer.left_at.whole > reading.since:
            entries = self._entries(reading, {nid: room_id}, [(nid, after, viewer.left_at.whole)]).get(
                nid, []
            )
        selection = reading.request.filter.timeline
        if (
            viewer.place > viewer.left_at
            and viewer.member
            and selection.takes_in(room_id, viewer.member.event)
        ):
            entries = [*entries, (viewer.place, viewer.member.nid)]
        visible = self._visibility.only_visible(reading.txn, viewer, entries)
        return newest(entries, visible, selection.limit, viewer.place)

    def _archived_state(
        self, reading: Reading, nid: int, viewer: Viewer, window: Window, after: int
    ) -> list[int]:
        """The state at the start of the timeline, or what of it changed after `after`."""
        if viewer.left_at.whole <= reading.since:
            return []
        if after:
            upto = min(window.start, viewer.left_at).whole
            return self._states.between(reading, nid, after, upto) if window.limited else []
        first = window.entries[0] if window.entries else None
        if first is None or first[0] > viewer.left_at:
            return self._states.at(reading, viewer.left_state, window)
        before = self._events.load(reading.txn, [first[1]])[first[1]].before_nid
        return self._states.at(reading, before, window)

    # All together

    def _load(self, reading: Reading, windows: Windows, states: States) -> dict[int, StoredEvent]:
        nids = {nid for window in windows.values() for nid in window.nids}
        return self._events.load(reading.txn, nids.union(*states.values()))

    def _parts(self, reading: Reading, rooms: RoomIds, changes: Sequence[Change] | None) -> RoomParts:
        return gather(
            (section, section.read(reading, rooms, changes and of_kinds(changes, section.kinds)))
            for section in self._sections.room
        )

    def _deltas(
        self, reading: Reading, rooms: RoomIds, windows: Windows, states: States, parts: RoomParts,
        viewers: Viewers | None = None,
    ) -> list[RoomDelta]:  # fmt: skip
        """`viewers` None: the user has been in the rooms all the time that is shown."""
        shown = [entry for window in windows.values() for entry in window.entries]
        nids = [nid for _, nid in shown]
        timelines, before = self._events.views_of_each(
            reading.txn, nids, [nid for state in states.values() for nid in state]
        )
        seen = (
            [view._replace(membership="join") for view in timelines]
            if viewers is None
            else self._visibility.as_seen(reading.txn, viewers, shown, timelines)
        )
        reader = Reader(reading.request.user_id, viewers or {}, reading.request.ignored)
        seen = with_aggregations(reading.txn, self._events, self._visibility, seen, reader)
        views = {view.stored.nid: view for view in seen}
        state_views = {view.stored.nid: view for view in before}
        silent = Window((), False, reading.end)
        return [
            RoomDelta(
                rooms[nid],
                [views[event] for event in windows.get(nid, silent).nids if event in views],
                windows.get(nid, silent).limited,
                windows.get(nid, silent).start,
                self._state_shown(reading, rooms[nid], states.get(nid, ()), state_views),
                {**self._sections.none, **parts.parts.get(nid, {})},
                nid in parts.news,
            )
            for nid in dict.fromkeys([*windows, *states, *parts.parts])
        ]

    def _state_shown(
        self, reading: Reading, room_id: str, nids: Collection[int], views: Mapping[int, View]
    ) -> list[View]:
        takes = reading.request.filter.state.takes_in
        return [views[nid] for nid in nids if nid in views and takes(room_id, views[nid].stored.event)]


def _change(stored: StoredEvent) -> Change:
    """The event as sections see it."""
    about = stored.event.state_key if stored.event.membership else None
    return Change(0, Kind.EVENT, stored.room_nid, stored.nid, about)


def _heroes(parts: RoomParts) -> dict[int, list[str]]:
    """Whom the clients name rooms after, as the summaries tell."""
    found = {}
    for nid, of_room in parts.parts.items():
        summary = of_room.get("summary")
        found[nid] = list(summary.get("m.heroes", ())) if isinstance(summary, dict) else []
    return found
