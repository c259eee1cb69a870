"""Rooms that a user is invited to, or wants to enter. Runs in database threads."""

from collections.abc import Mapping

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.sync.values import Invitation, Reading
from synapse_lite.matrix.event import redacted, stripped_state
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.state import StateStore

STRIPPED = (
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
)


def read_invitations(
    reading: Reading,
    events: EventStore,
    state: StateStore,
    rooms: Mapping[int, str],
    members: Mapping[int, StoredEvent],
) -> list[Invitation]:
    """`members` are the user's member events by room nid; the state tells of the room and of who invites."""
    members = {nid: stored for nid, stored in members.items() if nid in rooms}
    wanted = [(nid, (kind, "")) for nid in members for kind in STRIPPED]
    wanted += [
        (nid, ("m.room.member", stored.event.sender))
        for nid, stored in members.items()
        if stored.event.sender != reading.request.user_id
    ]
    current = state.current(reading.txn, wanted)
    views = {view.stored.nid: view for view in events.views(reading.txn, list(current.values()))}
    stripped: dict[int, list[JsonObject]] = {nid: [] for nid in members}
    for (room_nid, _), nid in current.items():
        event = views[nid].stored.event
        stripped[room_nid].append(stripped_state(redacted(event) if views[nid].redaction else event))
    return [
        Invitation(rooms[nid], [*found, stripped_state(members[nid].event)])
        for nid, found in stripped.items()
    ]
