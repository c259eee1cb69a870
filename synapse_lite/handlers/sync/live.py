"""A sync result from the stream in memory: the answer to most long polls, without the database.

It serves rooms in which the user was joined all the time. Whatever it cannot know it leaves to
`SyncReader` by answering None.
"""

from collections.abc import Sequence

from synapse_lite.handlers.sync.values import RoomDelta, SyncRequest, SyncResult
from synapse_lite.storage.events import EventStore, View, view
from synapse_lite.storage.stream import Change, Kind


def live_result(
    request: SyncRequest, changes: Sequence[Change], position: int, events: EventStore
) -> SyncResult | None:
    """The changes, all of them events in rooms that the user is in, as a result."""
    if request.filter.state.lazy_load_members or any(change.kind is not Kind.EVENT for change in changes):
        return None
    stored = events.cached([change.event_nid for change in changes if change.event_nid is not None])
    redactions = {
        change.redacts_nid: stored[change.event_nid]
        for change in changes
        if change.redacts_nid is not None and change.event_nid in stored
    }
    by_room: dict[int, list[tuple[int, View]]] = {}
    for change in changes:
        found = stored.get(change.event_nid or 0)
        if found is None or found.replaces_nid is not None:
            return None  # what a state event replaced may itself be redacted
        if change.room_nid is not None:
            by_room.setdefault(change.room_nid, []).append((change.position, view(found, {}, redactions)))
    deltas = [_delta(request, entries) for entries in by_room.values()]
    return SyncResult(position, [delta for delta in deltas if delta is not None])


def _delta(request: SyncRequest, entries: Sequence[tuple[int, View]]) -> RoomDelta | None:
    room_id = entries[0][1].stored.event.room_id
    if not request.filter.takes_room(room_id):
        return None
    selection = request.filter.timeline
    chosen = [entry for entry in entries if selection.takes(entry[1].stored.event)]
    timeline = chosen[-selection.limit :] if selection.limit else []
    limited = len(chosen) > len(timeline)
    prev_batch = timeline[0][0] - 1 if timeline else entries[-1][0]
    skipped = {
        shown.stored.event.key: shown
        for position, shown in entries
        if limited and position <= prev_batch and shown.stored.event.is_state
    }
    state = [shown for shown in skipped.values() if request.filter.state.takes(shown.stored.event)]
    delta = RoomDelta(room_id, [shown for _, shown in timeline], limited, prev_batch, state)
    return None if delta.is_empty else delta
