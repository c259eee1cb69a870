"""A sliding sync result as JSON, in both forms; what is not known is left out."""

from collections.abc import Sequence

import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.rendering import render_all
from synapse_lite.handlers.sliding_sync.values import ShownList, SlidingRequest, SlidingResult, SlidingRoom
from synapse_lite.handlers.tokens import write_token
from synapse_lite.storage.events import View


def write_answer(request: SlidingRequest, result: SlidingResult, now_ms: int) -> JsonObject:
    """All but `pos`."""
    answer: JsonObject = {}
    if result.lists:
        answer["lists"] = {
            name: {"count": one.count} if request.is_merged else _list(one)
            for name, one in result.lists.items()
        }
    write = _merged_room if request.is_merged else _room
    answer["rooms"] = {room.room_id: write(request, room, now_ms) for room in result.rooms}
    answer["extensions"] = result.extensions
    return answer


def _list(shown: ShownList) -> JsonObject:
    return {
        "count": shown.count,
        "ops": [{"op": "SYNC", "range": list(span), "room_ids": list(ids)} for span, ids in shown.ops],
    }


def _room(request: SlidingRequest, room: SlidingRoom, now_ms: int) -> JsonObject:
    """As clients of `org.matrix.simplified_msc3575` read it."""
    written = _common(room)
    if room.expanded:
        written["unstable_expanded_timeline"] = True
    if room.invite_state is not None:
        written["invite_state"] = list(room.invite_state)
        return written
    if room.required_state:
        written["required_state"] = _events(request, room.required_state, now_ms)
    if room.limited is not None:
        written["timeline"] = _events(request, room.timeline, now_ms)
    return written | _edge(room)


def _merged_room(request: SlidingRequest, room: SlidingRoom, now_ms: int) -> JsonObject:
    """As MSC4186 says. A name and an avatar that were taken away are null."""
    written = {"membership": room.membership, **_common(room)}
    if room.lists:
        written["lists"] = list(room.lists)
    if room.expanded:
        written["expanded_timeline"] = True
    if room.invite_state is not None:
        written["stripped_state"] = list(room.invite_state)
        return written
    if room.summary and not room.initial:
        written |= {name: None for name in ("name", "avatar") if name not in room.summary}
    stubs = [{"type": kind, "state_key": key} for kind, key in room.unset]
    if room.required_state or stubs:
        written["required_state"] = [*_events(request, room.required_state, now_ms), *stubs]
    if room.limited is not None:
        written["timeline_events"] = _events(request, room.timeline, now_ms)
    return written | _edge(room)


def _common(room: SlidingRoom) -> JsonObject:
    written: JsonObject = {**room.summary, **(room.counts or {})}
    if room.bump_stamp is not None:
        written["bump_stamp"] = room.bump_stamp
    if room.initial:
        written["initial"] = True
    return written


def _edge(room: SlidingRoom) -> JsonObject:
    """How the timeline goes on."""
    written: JsonObject = {}
    if room.limited is not None:
        written |= {"limited": room.limited, "num_live": room.num_live}
    if room.prev_batch is not None:
        written["prev_batch"] = write_token(room.prev_batch)
    return written


def _events(request: SlidingRequest, views: Sequence[View], now_ms: int) -> list[orjson.Fragment]:
    return render_all(views, session=request.requester.session, now_ms=now_ms, in_room=True)
