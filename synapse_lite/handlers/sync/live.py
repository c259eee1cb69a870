"""A sync result from the stream in memory: the answer to most long polls, without the database.

It serves rooms in which the user was joined all the time. Whatever it cannot know it leaves to
`SyncReader` by answering None.
"""

from collections.abc import Mapping, Sequence

from synapse_lite.handlers.retention import Retention
from synapse_lite.handlers.sync.values import RoomDelta, SyncRequest, SyncResult
from synapse_lite.handlers.sync.windows import newest
from synapse_lite.storage.events import EventStore, StoredEvent, view
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.storage.timeline import Entry


def live_result(
    request: SyncRequest, changes: Sequence[Change], position: int, events: EventStore, retention: Retention
) -> SyncResult | None:
    """The changes up to a position, all of them events in rooms that the user is in, as a result."""
    if not changes:
        return SyncResult(position)
    if request.filter.state.lazy_load_members or any(change.kind is not Kind.EVENT for change in changes):
        return None
    stored = events.cached([change.event_nid for change in changes if change.event_nid is not None])
    if retention.may_hide(stored.values()):
        return None
    redactions: dict[int, StoredEvent] = {}
    by_room: dict[int, list[Entry]] = {}
    for change in changes:
        found = stored.get(change.event_nid or 0)
        if found is None or found.replaces_nid is not None:
            return None  # what a state event replaced may itself be redacted
        if change.redacts_nid is not None:
            known = redactions.setdefault(change.redacts_nid, found)
            redactions[change.redacts_nid] = min(known, found, key=lambda redaction: redaction.nid)
        by_room.setdefault(found.room_nid, []).append((change.position, found.nid))
    deltas = [_delta(request, entries, position, stored, redactions) for entries in by_room.values()]
    return SyncResult(position, [delta for delta in deltas if delta is not None])


def _delta(
    request: SyncRequest,
    entries: Sequence[Entry],
    position: int,
    stored: Mapping[int, StoredEvent],
    redactions: Mapping[int, StoredEvent],
) -> RoomDelta | None:
    room_id = stored[entries[0][1]].event.room_id
    selection = request.filter.timeline
    if not request.filter.takes_room(room_id):
        return None
    chosen = [entry for entry in entries if selection.takes_in(room_id, stored[entry[1]].event)]
    window = newest(chosen, chosen, selection.limit, position)
    upto = position if selection.hides_in(room_id) else window.start
    changed = {stored[nid].event.key: nid for at, nid in entries if at <= upto and stored[nid].event.is_state}
    state = [
        nid
        for nid in changed.values()
        if nid not in window.nids and request.filter.state.takes_in(room_id, stored[nid].event)
    ]
    delta = RoomDelta(
        room_id,
        [view(stored[nid], {}, redactions) for nid in window.nids],
        window.limited,
        window.start,
        [view(stored[nid], {}, redactions) for nid in state],
    )
    return None if delta.is_empty else delta
