"""The timelines and states of rooms in sliding sync. Runs in database threads."""

from collections.abc import Mapping, Sequence

from attrs import frozen

from synapse_lite.handlers.filters import EventFilter
from synapse_lite.handlers.sync.state import cut
from synapse_lite.handlers.sync.values import Reading
from synapse_lite.handlers.sync.windows import Window, newest, within_bytes
from synapse_lite.handlers.visibility import Viewer, Visibility
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage import timeline
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.state import NidMap, StateStore
from synapse_lite.storage.timeline import Entry

Limits = Mapping[int, int]  # the longest timeline, by room nid
Windows = dict[int, Window]


@frozen
class TimelineReader:
    events: EventStore
    state: StateStore
    visibility: Visibility

    def since(self, reading: Reading, after: Mapping[int, int], limits: Limits) -> Windows:
        """Rooms in which the user has been since the position `after`: what came then."""
        found = self._entries(reading, [(nid, upto, reading.position) for nid, upto in after.items()], limits)
        shown = {
            *self.visibility.unexpired(
                reading.txn, [entry for entries in found.values() for entry in entries]
            )
        }
        windows = {
            nid: newest(entries, [entry for entry in entries if entry in shown], limits[nid], reading.end)
            for nid, entries in found.items()
        }
        return self._in_force(reading, within_bytes(reading.txn, self.events, windows))

    def whole(self, reading: Reading, members: Mapping[int, StoredEvent], limits: Limits) -> Windows:
        """Rooms that the user is in, as far as they may look back; `members` are their own member events."""
        viewers = self.visibility.viewers(reading.txn, reading.request.user_id, members)
        found = self._entries(reading, [(nid, 0, reading.position) for nid in members], limits)
        windows = {}
        for nid, viewer in viewers.items():
            entries = found.get(nid, [])
            visible = self.visibility.only_visible(reading.txn, viewer, entries)
            windows[nid] = newest(entries, visible, limits[nid], reading.end)
        return self._in_force(reading, within_bytes(reading.txn, self.events, windows))

    def until_departure(
        self, reading: Reading, viewers: Mapping[int, Viewer], after: Mapping[int, int], limits: Limits
    ) -> Windows:
        """Rooms that the user is out of: what they may see from `after` on, with their own member event."""
        spans = [
            (nid, after[nid], viewer.left_at.whole)
            for nid, viewer in viewers.items()
            if viewer.left_at.whole > after[nid]
        ]
        found = self._entries(reading, spans, limits)
        windows = {}
        for nid, viewer in viewers.items():
            entries = found.get(nid, [])
            if viewer.place > viewer.left_at and viewer.member is not None:
                entries = [*entries, (viewer.place, viewer.member.nid)]
            visible = self.visibility.only_visible(reading.txn, viewer, entries)
            windows[nid] = newest(entries, visible, limits[nid], viewer.place)
        return within_bytes(reading.txn, self.events, windows)

    def load(self, reading: Reading, windows: Windows) -> dict[int, StoredEvent]:
        return self.events.load(reading.txn, {nid for window in windows.values() for nid in window.nids})

    def _entries(
        self, reading: Reading, spans: Sequence[timeline.LiveSpan], limits: Limits
    ) -> dict[int, list[Entry]]:
        """The newest of each room, one more than its limit."""
        if not spans:
            return {}
        most = max(limits[nid] for nid, _, _ in spans)
        selection = EventFilter(ignored=reading.request.ignored)
        found = timeline.windows(reading.txn, spans, most + 1, selection)
        return {nid: entries[-limits[nid] - 1 :] for nid, entries in found.items()}

    def _in_force(self, reading: Reading, windows: Windows) -> Windows:
        """Each after the last state event that does not hold: clients take the last one for what does."""
        events = self.load(reading, windows)
        shown: dict[int, NidMap] = {
            nid: {
                events[one].event.key: one
                for one in window.nids
                if one in events and events[one].event.is_state
            }
            for nid, window in windows.items()
        }
        current = self.state.current(reading.txn, [(nid, key) for nid, keys in shown.items() for key in keys])
        finals: dict[int, NidMap] = {nid: {} for nid in windows}
        for (nid, key), event in current.items():
            finals[nid][key] = event
        return {nid: cut(window, shown[nid], finals[nid]) for nid, window in windows.items()}


def people(window: Window, events: Mapping[int, StoredEvent]) -> set[str]:
    """Who speaks in a timeline, and whose membership changes there."""
    found = set()
    for nid in window.nids:
        event = events[nid].event
        found.add(event.sender)
        if event.type == MEMBER and event.state_key is not None:
            found.add(event.state_key)
    return found
