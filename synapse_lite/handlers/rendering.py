"""Events as clients get them (client-server API, "Room event format")."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import orjson

from synapse_lite.canonical_json import JsonObject, dump
from synapse_lite.matrix.event import client_event, event_in_room, redacted
from synapse_lite.matrix.property_paths import Path, find, split_path
from synapse_lite.matrix.relations import REFERENCE, REPLACE, THREAD
from synapse_lite.storage.events import Aggregations, StoredEvent, View

JOIN = "join"
ROOMS = 1000
_JOINED = b'%b%b,"unsigned":{"age":%d,"membership":"join"}}'
_OWN = b'%b%b,"unsigned":{"age":%d,"membership":"join","transaction_id":%b}}'
OLD_PLACES = ("age", "replaces_state", "prev_content", "redacted_because")


def render(
    view: View, *, session: str | None, now_ms: int, raw: bool = False, in_room: bool = False
) -> orjson.Fragment:
    """The event with its `unsigned`. `session` is the reader's: its own events carry their transaction id.

    `raw`: as servers exchange it, with its id. `in_room`: the answer says elsewhere in which room it is.
    """
    stored, redaction, previous, aggregations, membership, _, _ = view
    if raw:
        event = stored.event if redaction is None else redacted(stored.event)
        unsigned = _unsigned(view, session, now_ms)
        return orjson.Fragment(dump({**event.pdu, "event_id": event.event_id, "unsigned": unsigned}))
    is_plain = redaction is None and previous is None and aggregations is None
    if is_plain and membership == JOIN:  # nearly every event
        opened, age = stored.client_json[:-1], _age(stored, now_ms)
        room = b"" if in_room else _room(stored.event.room_id)
        if stored.txn_id is None or stored.session != session:
            return orjson.Fragment(_JOINED % (opened, room, age))
        return orjson.Fragment(_OWN % (opened, room, age, orjson.dumps(stored.txn_id)))
    return _encode(view, {"unsigned": _unsigned(view, session, now_ms)}, in_room=in_room)


def render_old(view: View, *, now_ms: int) -> orjson.Fragment:
    """As `render`, for nobody's session, and once more in the places of the first client API."""
    unsigned = _unsigned(view, None, now_ms)
    old = {name: unsigned[name] for name in OLD_PLACES if name in unsigned}
    return _encode(view, {"unsigned": unsigned, "user_id": view.stored.event.sender, **old}, in_room=False)


def _age(stored: StoredEvent, now_ms: int) -> int:
    return max(0, now_ms - stored.event.origin_server_ts)


def _unsigned(view: View, session: str | None, now_ms: int) -> JsonObject:
    unsigned: JsonObject = {"age": _age(view.stored, now_ms)}
    if view.membership is not None:
        unsigned["membership"] = view.membership
    if view.stored.txn_id is not None and view.stored.session == session:
        unsigned["transaction_id"] = view.stored.txn_id
    if view.previous is not None:
        unsigned["replaces_state"] = view.previous.event_id
        unsigned["prev_content"] = view.previous.content
        unsigned["prev_sender"] = view.previous.sender
    if view.redaction is not None and not view.hides_redaction:
        unsigned["redacted_because"] = client_event(view.redaction.event)
    if view.aggregations is not None:
        relations = _relations(view.aggregations, session, now_ms)
        if relations:
            unsigned["m.relations"] = relations
    return unsigned


def _relations(aggregations: Aggregations, session: str | None, now_ms: int) -> JsonObject:
    """By the type of the relation ("Aggregations of child events")."""
    relations: JsonObject = {}
    if aggregations.edit is not None:
        relations[REPLACE] = render(View(aggregations.edit), session=session, now_ms=now_ms)
    if aggregations.thread is not None:
        relations[THREAD] = {
            "latest_event": render(aggregations.thread.latest, session=session, now_ms=now_ms),
            "count": aggregations.thread.count,
            "current_user_participated": aggregations.thread.participated,
        }
    if aggregations.reference_ids:
        relations[REFERENCE] = {"chunk": [{"event_id": one} for one in aggregations.reference_ids]}
    return relations


def _encode(view: View, more: JsonObject, *, in_room: bool) -> orjson.Fragment:
    stored = view.stored
    encoded = stored.client_json if view.redaction is None else dump(event_in_room(redacted(stored.event)))
    room = b"" if in_room else _room(stored.event.room_id)
    return orjson.Fragment(b"%b%b,%b" % (encoded[:-1], room, dump(more)[1:]))


@lru_cache(ROOMS)
def _room(room_id: str) -> bytes:
    """A page has many events of one room."""
    return b',"room_id":%b' % orjson.dumps(room_id)


def render_all(
    views: Iterable[View], *, session: str | None, now_ms: int, raw: bool = False, in_room: bool = False
) -> list[orjson.Fragment]:
    return [render(view, session=session, now_ms=now_ms, raw=raw, in_room=in_room) for view in views]


def with_fields(events: Sequence[orjson.Fragment], fields: Sequence[str]) -> list[JsonObject]:
    """Only the named fields of rendered events, as a filter's `event_fields` asks."""
    paths = [split_path(field) for field in fields]
    return [_pick(orjson.loads(orjson.dumps(event)), paths) for event in events]


def _pick(event: JsonObject, paths: Sequence[Path]) -> JsonObject:
    picked: JsonObject = {}
    for *parents, last in paths:
        source = find(event, tuple(parents))
        if isinstance(source, dict) and last in source:
            target = picked
            for name in parents:
                target = target.setdefault(name, {})
            target[last] = source[last]
    return picked
