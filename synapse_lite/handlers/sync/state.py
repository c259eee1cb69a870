"""The state that a sync shows of rooms, beside what their timelines show. Runs in database threads.

A client applies the state, then the timeline, and must end with the room's current state. A state event that
did not come into force, or did not stay so when branches met, is therefore in no timeline: the timeline
begins after it, and the state tells what holds instead.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from synapse_lite.handlers.sync.values import Reading, RoomIds
from synapse_lite.handlers.sync.windows import Window
from synapse_lite.matrix.event import StateKey
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage import state_deltas
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.state import NidMap, SnapshotNid, StateStore
from synapse_lite.storage.state_deltas import Delta
from synapse_lite.storage.stream import Place

Windows = dict[int, Window]  # by room nid
States = dict[int, list[int]]  # the nids of state events, by room nid
Finals = dict[int, NidMap]  # what holds of the keys that the timelines show, by room nid


class RoomStates:
    def __init__(self, events: EventStore, state: StateStore) -> None:
        self._events = events
        self._state = state

    def incremental(self, reading: Reading, rooms: RoomIds, windows: Windows) -> tuple[Windows, States]:
        """Of rooms that the client knows: what changed since, that the timelines do not show."""
        deltas = state_deltas.deltas_in(
            reading.txn, [(nid, reading.since, reading.position) for nid in rooms]
        )
        last = self._last_shown(reading, windows)
        finals = self._finals(reading, last, deltas)
        windows = {nid: cut(window, last[nid], finals[nid]) for nid, window in windows.items()}
        states: States = {}
        for nid in deltas.keys() | windows.keys():
            window = windows.get(nid) or Window((), False, reading.end)
            upto = reading.end if reading.request.filter.timeline.hides_in(rooms[nid]) else window.start
            changed = at_start(deltas.get(nid, ()), set(window.nids), upto)
            states[nid] = [event for event in changed if event not in window.nids]
        return windows, states

    def add_senders(self, reading: Reading, windows: Windows, states: States) -> None:
        """Add the member events of those who speak in the timelines."""
        events = self._load(reading, windows)
        senders = {
            (nid, (MEMBER, events[event].event.sender))
            for nid, window in windows.items()
            for event in window.nids
        }
        for (nid, _), event in self._state.current(reading.txn, list(senders)).items():
            if event not in windows[nid].nids and event not in states.get(nid, ()):
                states.setdefault(nid, []).append(event)

    def add_changes(self, reading: Reading, room_nid: int, window: Window, states: States) -> None:
        """Add what changed since the client last knew the room, and neither state nor timeline shows."""
        changed = self.between(reading, room_nid, reading.since, reading.position)
        shown = {*window.nids, *states[room_nid]}
        states[room_nid] += [nid for nid in changed if nid not in shown]

    def full(
        self, reading: Reading, windows: Windows, heroes: Mapping[int, Collection[str]]
    ) -> tuple[Windows, States]:
        """The whole state at the start of the timelines; for who loads members lazily, those who matter there."""
        events = self._load(reading, windows)
        wanted = {
            nid: self._speakers(reading, window, events).union(heroes.get(nid, ()))
            for nid, window in windows.items()
        }
        last = self._last_shown(reading, windows)
        targets = {key for keys in last.values() for kind, key in keys if kind == MEMBER}
        everybody = targets.union(*wanted.values()) if reading.request.is_lazy else None
        current = self._state.current_of_rooms(reading.txn, windows.keys(), everybody)
        windows = {nid: cut(window, last[nid], current.get(nid, {})) for nid, window in windows.items()}
        states = {}
        for nid, window in windows.items():
            before = _undo(current.get(nid, {}), [events[event] for event in window.nids])
            states[nid] = self._chosen(reading, before, wanted[nid])
        return windows, states

    def at(self, reading: Reading, snapshot_nid: SnapshotNid, window: Window) -> list[int]:
        """A whole state; for who loads members lazily, of them those who speak in the timeline."""
        whole = self._state.whole(reading.txn, snapshot_nid)
        return self._chosen(reading, whole, self._speakers(reading, window, self._load(reading, {0: window})))

    def between(self, reading: Reading, room_nid: int, after: int, upto: int) -> list[int]:
        """What holds at the end, of what changed at after < position <= upto."""
        changes = state_deltas.net_changes(reading.txn, [(room_nid, after, upto)])
        return [nid for nid in changes.get(room_nid, {}).values() if nid is not None]

    def _load(self, reading: Reading, windows: Windows) -> dict[int, StoredEvent]:
        return self._events.load(reading.txn, {nid for window in windows.values() for nid in window.nids})

    def _last_shown(self, reading: Reading, windows: Windows) -> Finals:
        """Of each key the last state event in the timeline."""
        events = self._load(reading, windows)
        return {
            nid: {
                events[one].event.key: one
                for one in window.nids
                if one in events and events[one].event.is_state
            }
            for nid, window in windows.items()
        }

    def _finals(self, reading: Reading, shown: Finals, deltas: Mapping[int, Sequence[Delta]]) -> Finals:
        """What holds now of the keys shown: nearly always what the deltas say last, else it is asked for."""
        finals: Finals = {nid: {} for nid in shown}
        asked = []
        for nid, keys in shown.items():
            said = {delta.key: delta.event_nid for delta in deltas.get(nid, ())}
            for key in keys:
                event = said.get(key)
                if event is not None:
                    finals[nid][key] = event
                elif key not in said:
                    asked.append((nid, key))
        for (nid, key), event in self._state.current(reading.txn, asked).items():
            finals[nid][key] = event
        return finals

    def _chosen(self, reading: Reading, state: NidMap, members: Collection[str]) -> list[int]:
        lazy = reading.request.is_lazy
        return [nid for (kind, key), nid in state.items() if not lazy or kind != MEMBER or key in members]

    def _speakers(self, reading: Reading, window: Window, events: Mapping[int, StoredEvent]) -> set[str]:
        """The senders of the timeline, and the user."""
        return {events[nid].event.sender for nid in window.nids} | {reading.request.user_id}


def cut(window: Window, shown: Mapping[StateKey, int], finals: Mapping[StateKey, int]) -> Window:
    """The window after the last state event that does not hold."""
    lost = {nid for key, nid in shown.items() if finals.get(key) != nid}
    if not lost:
        return window
    end = max(place for place, nid in window.entries if nid in lost)
    return Window([entry for entry in window.entries if entry[0] > end], limited=True, start=end)


def at_start(deltas: Sequence[Delta], shown: Collection[int], upto: Place) -> list[int]:
    """What to say before the timeline: of each key what held at `upto`, unless it ends as the timeline does not say."""
    first = {delta.key: delta.previous_nid for delta in reversed(deltas)}
    start = {delta.key: delta.event_nid for delta in deltas if Place(delta.position) <= upto}
    final = {delta.key: delta.event_nid for delta in deltas}
    values = {key: start.get(key) if nid in shown else nid for key, nid in final.items()}
    return [nid for key, nid in values.items() if nid is not None and nid != first[key]]


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
