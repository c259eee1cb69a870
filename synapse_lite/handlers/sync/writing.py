"""A sync result as JSON (client-server API, "GET /_matrix/client/v3/sync")."""

from collections.abc import Iterable, Sequence

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.rendering import render_all, with_fields
from synapse_lite.handlers.sync.values import Invitation, RoomDelta, SyncRequest, SyncResult
from synapse_lite.handlers.tokens import write_sync_token, write_token
from synapse_lite.storage.events import View


def write_sync(request: SyncRequest, result: SyncResult, now_ms: int) -> JsonObject:
    """Empty parts are left out, as Synapse does."""
    rooms: JsonObject = {
        "join": {delta.room_id: _room(request, delta, now_ms) for delta in result.joined},
        "leave": {delta.room_id: _room(request, delta, now_ms) for delta in result.left},
        "invite": _invitations(result.invited, "invite_state"),
        "knock": _invitations(result.knocked, "knock_state"),
    }
    answer: JsonObject = {"next_batch": write_sync_token(result.position, result.delivered), **result.parts}
    filled = {section: content for section, content in rooms.items() if content}
    if filled:
        answer["rooms"] = filled
    return answer


def _room(request: SyncRequest, delta: RoomDelta, now_ms: int) -> JsonObject:
    return {
        "timeline": {
            "events": _events(request, delta.timeline, now_ms),
            "limited": delta.limited,
            "prev_batch": write_token(delta.prev_batch),
        },
        **_state(request, delta, now_ms),
        **delta.parts,
    }


def _state(request: SyncRequest, delta: RoomDelta, now_ms: int) -> JsonObject:
    """The state with which a client ends is what the timeline makes of the one at its start."""
    if request.state_after is None:
        return {"state": {"events": _events(request, delta.state, now_ms)}}
    takes = request.filter.state.takes_in
    changed = [
        view
        for view in delta.timeline
        if view.stored.event.is_state and takes(delta.room_id, view.stored.event)
    ]
    after = {view.stored.event.key: view for view in (*delta.state, *changed)}
    return {request.state_after: {"events": _events(request, [*after.values()], now_ms)}}


def _events(request: SyncRequest, views: Sequence[View], now_ms: int) -> Sequence[object]:
    session, raw = request.requester.session, request.filter.raw
    events = render_all(views, session=session, now_ms=now_ms, raw=raw, in_room=True)
    fields = request.filter.event_fields
    return with_fields(events, fields) if fields else events


def _invitations(invitations: Iterable[Invitation], key: str) -> JsonObject:
    return {one.room_id: {key: {"events": list(one.events)}} for one in invitations}
