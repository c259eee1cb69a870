"""What a sync shows of rooms that the user is in, or was in. Runs in database threads."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from attrs import field, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.sync.extras import Extras, read_ephemeral, read_room_account_data
from synapse_lite.handlers.sync.values import Reading, RoomDelta
from synapse_lite.handlers.sync.windows import Window, newest
from synapse_lite.handlers.visibility import Viewer, Visibility
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage import timeline
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.state import NidMap, StateStore
from synapse_lite.storage.stream import Change
from synapse_lite.storage.timeline import Entry

HEROES = 5
MEMBER = "m.room.member"

RoomIds = Mapping[int, str]  # by nid
Windows = dict[int, Window]
States = dict[int, list[int]]  # the nids of state events, by room


@frozen
class _Extras:
    """What rooms show beside events."""

    ephemeral: Extras = field(factory=dict)
    account_data: Extras = field(factory=dict)
    summaries: Mapping[int, JsonObject] = field(factory=dict)


class RoomReader:
    """Puts the sections of rooms together, each kind of room with a few statements for all of them."""

    def __init__(self, events: EventStore, state: StateStore, visibility: Visibility) -> None:
        self._events = events
        self._state = state
        self._visibility = visibility

    def steady(self, reading: Reading, rooms: RoomIds, changes: Sequence[Change]) -> list[RoomDelta]:
        """Rooms in which the user has been all the time: what is new; `changes` are those that are no events."""
        request, spans = reading.request, [(nid, reading.since, reading.position) for nid in rooms]
        found = self._entries(reading, rooms, spans)
        shown = {*self._visibility.unexpired(reading.txn, [*chain(*found.values())])}
        windows = {
            nid: newest(
                entries,
                [entry for entry in entries if entry in shown],
                request.filter.timeline.limit,
                reading.position,
            )
            for nid, entries in found.items()
        }
        if request.full_state:
            windows = {nid: windows.get(nid) or Window((), False, reading.position) for nid in rooms}
            summaries = self._summaries(reading, rooms)
            state = self._current_at_start(reading, windows, _heroes(summaries))
        else:
            state = self._state_before(reading, rooms, windows)
            events = self._load(reading, windows, state)
            summaries = self._summaries(
                reading, {stored.room_nid for stored in events.values() if stored.event.membership}
            )
            if request.is_lazy:
                self._add_senders(reading, windows, state)
        extras = _Extras(
            read_ephemeral(reading, rooms, changes),
            read_room_account_data(reading, rooms, changes),
            summaries,
        )
        deltas = self._deltas(reading, rooms, windows, state, extras)
        return deltas if request.full_state else [delta for delta in deltas if not delta.is_empty]

    def whole(self, reading: Reading, rooms: RoomIds, members: Mapping[int, StoredEvent]) -> list[RoomDelta]:
        """Joined rooms of which the client knows nothing; `members` are the user's member events there."""
        rooms = {nid: rooms[nid] for nid in members if nid in rooms}
        if not rooms:
            return []
        viewers = self._visibility.viewers(
            reading.txn, reading.request.user_id, {nid: members[nid] for nid in rooms}
        )
        found = self._entries(reading, rooms, [(nid, 0, reading.position) for nid in rooms])
        windows = {nid: self._window(reading, viewers[nid], found.get(nid, ())) for nid in rooms}
        summaries = self._summaries(reading, rooms)
        extras = _Extras(
            read_ephemeral(reading, rooms, None), read_room_account_data(reading, rooms, None), summaries
        )
        state = self._current_at_start(reading, windows, _heroes(summaries))
        return self._deltas(reading, rooms, windows, state, extras)

    def left(
        self, reading: Reading, rooms: RoomIds, members: Mapping[int, StoredEvent], known: Collection[int]
    ) -> list[RoomDelta]:
        """Rooms that the user is out of, until then; of those in `known` the client has what was before `since`.

        Who was not in the room meanwhile sees their own member event, nothing else.
        """
        rooms = {nid: rooms[nid] for nid in members if nid in rooms}
        viewers = self._visibility.viewers(
            reading.txn, reading.request.user_id, {nid: members[nid] for nid in rooms}
        )
        windows, state = {}, {}
        for nid, viewer in viewers.items():
            after = reading.since if nid in known else 0
            windows[nid] = self._left_window(reading, nid, rooms[nid], viewer, after)
            state[nid] = self._left_state(reading, nid, viewer, windows[nid], after)
        return self._deltas(reading, rooms, windows, state, _Extras())

    # Timelines

    def _entries(
        self, reading: Reading, rooms: RoomIds, spans: Collection[timeline.Span]
    ) -> dict[int, list[Entry]]:
        """The newest events that the filter takes, one more than its limit."""
        selection = reading.request.filter.timeline
        wanted = [span for span in spans if selection.takes_room(rooms[span[0]])]
        return timeline.windows(reading.txn, wanted, selection.limit + 1, selection) if wanted else {}

    def _window(self, reading: Reading, viewer: Viewer, entries: Sequence[Entry]) -> Window:
        visible = self._visibility.only_visible(reading.txn, viewer, entries)
        return newest(entries, visible, reading.request.filter.timeline.limit, reading.position)

    def _left_window(self, reading: Reading, nid: int, room_id: str, viewer: Viewer, after: int) -> Window:
        entries: list[Entry] = []
        if viewer.left_at > reading.since:
            entries = self._entries(reading, {nid: room_id}, [(nid, after, viewer.left_at)]).get(nid, [])
        selection = reading.request.filter.timeline
        if (
            viewer.position > viewer.left_at
            and viewer.member
            and selection.takes_in(room_id, viewer.member.event)
        ):
            entries = [*entries, (viewer.position, viewer.member.nid)]
        visible = self._visibility.only_visible(reading.txn, viewer, entries)
        return newest(entries, visible, selection.limit, viewer.position)

    # State

    def _state_before(self, reading: Reading, rooms: RoomIds, windows: Windows) -> States:
        """What changed from `since` to the start of the timeline, and what the timeline does not show."""
        selection = reading.request.filter.timeline
        spans = [
            (nid, reading.since, reading.position if selection.hides_in(rooms[nid]) else windows[nid].start)
            for nid in rooms
            if nid in windows or selection.hides_in(rooms[nid])
        ]
        changed = timeline.state_changes(reading.txn, spans) if spans else {}
        return {nid: _without(nids, windows.get(nid)) for nid, nids in changed.items()}

    def _add_senders(self, reading: Reading, windows: Windows, state: States) -> None:
        """Add the member events of those who speak in the timelines."""
        events = self._load(reading, windows, {})
        senders = {
            (nid, (MEMBER, events[event].event.sender))
            for nid, window in windows.items()
            for event in window.nids
        }
        for (nid, _), event in self._state.current(reading.txn, list(senders)).items():
            if event not in windows[nid].nids and event not in state.get(nid, ()):
                state.setdefault(nid, []).append(event)

    def _current_at_start(
        self, reading: Reading, windows: Windows, heroes: Mapping[int, Collection[str]]
    ) -> States:
        """The whole state at the start of the timelines."""
        events = self._load(reading, windows, {})
        speakers = {nid: self._speakers(reading, window, events) for nid, window in windows.items()}
        wanted = {nid: speakers[nid] | set(heroes.get(nid, ())) for nid in windows}
        everybody = set().union(*wanted.values()) if reading.request.is_lazy else None
        current = self._state.current_of_rooms(reading.txn, windows.keys(), everybody)
        return {
            nid: self._chosen(
                reading, _undo(current.get(nid, {}), [events[e] for e in window.nids]), wanted[nid]
            )
            for nid, window in windows.items()
        }

    def _left_state(
        self, reading: Reading, nid: int, viewer: Viewer, window: Window, after: int
    ) -> list[int]:
        """The state at the start of the timeline, or what of it changed after `after`."""
        if viewer.left_at <= reading.since:
            return []
        if after:
            spans = [(nid, after, min(window.start, viewer.left_at))]
            return timeline.state_changes(reading.txn, spans).get(nid, []) if window.limited else []
        events = self._load(reading, {nid: window}, {})
        first = window.entries[0] if window.entries else None
        snapshot = events[first[1]].before_nid if first and first[0] <= viewer.left_at else viewer.left_state
        whole = self._state.whole(reading.txn, snapshot)
        return self._chosen(reading, whole, self._speakers(reading, window, events))

    def _chosen(self, reading: Reading, state: NidMap, members: Collection[str]) -> list[int]:
        """The events of a state; for who loads members lazily only of these members."""
        lazy = reading.request.is_lazy
        return [nid for (kind, key), nid in state.items() if not lazy or kind != MEMBER or key in members]

    def _speakers(self, reading: Reading, window: Window, events: Mapping[int, StoredEvent]) -> set[str]:
        """The senders of the timeline, and the user."""
        return {events[nid].event.sender for nid in window.nids} | {reading.request.user_id}

    # All together

    def _load(self, reading: Reading, windows: Windows, state: States) -> dict[int, StoredEvent]:
        nids = {nid for window in windows.values() for nid in window.nids}
        return self._events.load(reading.txn, nids.union(*state.values()))

    def _deltas(
        self, reading: Reading, rooms: RoomIds, windows: Windows, state: States, extras: _Extras
    ) -> list[RoomDelta]:
        wanted = {nid for window in windows.values() for nid in window.nids}.union(*state.values())
        views = {view.stored.nid: view for view in self._events.views(reading.txn, list(wanted))}
        takes = reading.request.filter.state.takes_in
        silent = Window((), False, reading.position)
        deltas = []
        for nid in dict.fromkeys([*windows, *state, *extras.ephemeral, *extras.account_data]):
            window = windows.get(nid, silent)
            before = [views[event] for event in state.get(nid, ()) if event in views]
            deltas.append(
                RoomDelta(
                    rooms[nid],
                    [views[event] for event in window.nids if event in views],
                    window.limited,
                    window.start,
                    [view for view in before if takes(rooms[nid], view.stored.event)],
                    extras.account_data.get(nid, ()),
                    extras.ephemeral.get(nid, ()),
                    extras.summaries.get(nid),
                )
            )
        return deltas

    def _summaries(self, reading: Reading, room_nids: Collection[int]) -> dict[int, JsonObject]:
        """Room summaries, for clients that load members lazily."""
        if not (reading.request.is_lazy and room_nids):
            return {}
        counts = room_store.count_members(reading.txn, room_nids)
        heroes = room_store.heroes(reading.txn, room_nids, reading.request.user_id, HEROES)
        return {
            nid: {
                "m.heroes": heroes.get(nid, []),
                "m.joined_member_count": counts[nid].get("join", 0),
                "m.invited_member_count": counts[nid].get("invite", 0),
            }
            for nid in room_nids
        }


def _heroes(summaries: Mapping[int, JsonObject]) -> dict[int, list[str]]:
    return {nid: summary["m.heroes"] for nid, summary in summaries.items()}


def _without(nids: Iterable[int], window: Window | None) -> list[int]:
    shown = set(window.nids) if window else set()
    return [nid for nid in nids if nid not in shown]


def _undo(state: NidMap, events: Iterable[StoredEvent]) -> NidMap:
    """The state before the events, which are in order, given the state after them."""
    before = dict(state)
    undone = set()
    for stored in events:
        if stored.event.is_state and stored.event.key not in undone:
            undone.add(stored.event.key)
            before.pop(stored.event.key, None)
            if stored.replaces_nid is not None:
                before[stored.event.key] = stored.replaces_nid
    return before
