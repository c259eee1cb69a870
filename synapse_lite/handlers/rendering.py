"""Events as clients get them (client-server API, "Room event format")."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.event import client_event, redacted
from synapse_lite.storage.events import StoredEvent, View

OLD_PLACES = ("age", "replaces_state", "redacted_because")


def render(view: View, *, session: str | None, now_ms: int) -> orjson.Fragment:
    """The event with its `unsigned`. `session` is the reader's: its own events carry their transaction id."""
    stored = view.stored
    own = stored.txn_id is not None and stored.session == session
    if view.redaction is None and view.previous is None and not own:  # nearly every event
        age = _age(stored, now_ms)
        return orjson.Fragment(b'%b,"unsigned":{"age":%d}}' % (stored.client_json[:-1], age))
    return _encode(view, {"unsigned": _unsigned(view, now_ms, own=own)})


def render_old(view: View, *, now_ms: int) -> orjson.Fragment:
    """As `render`, for nobody's session, and once more in the places of the first client API."""
    unsigned = _unsigned(view, now_ms, own=False)
    old = {name: unsigned[name] for name in OLD_PLACES if name in unsigned}
    return _encode(view, {"unsigned": unsigned, "user_id": view.stored.event.sender, **old})


def _age(stored: StoredEvent, now_ms: int) -> int:
    return max(0, now_ms - stored.event.origin_server_ts)


def _unsigned(view: View, now_ms: int, *, own: bool) -> JsonObject:
    unsigned: JsonObject = {"age": _age(view.stored, now_ms)}
    if own:
        unsigned["transaction_id"] = view.stored.txn_id
    if view.previous is not None:
        unsigned["replaces_state"] = view.previous.event_id
        unsigned["prev_content"] = view.previous.content
        unsigned["prev_sender"] = view.previous.sender
    if view.redaction is not None:
        unsigned["redacted_because"] = client_event(view.redaction.event)
    return unsigned


def _encode(view: View, more: JsonObject) -> orjson.Fragment:
    stored = view.stored
    if view.redaction is None:
        encoded = stored.client_json
    else:
        encoded = orjson.dumps(client_event(redacted(stored.event)))
    return orjson.Fragment(encoded[:-1] + b"," + orjson.dumps(more)[1:])


def render_all(views: Iterable[View], *, session: str | None, now_ms: int) -> list[orjson.Fragment]:
    return [render(view, session=session, now_ms=now_ms) for view in views]


def with_fields(events: Sequence[orjson.Fragment], fields: Sequence[str]) -> list[JsonObject]:
    """Only the named fields of rendered events, as a filter's `event_fields` asks."""
    paths = [_path(field) for field in fields]
    return [_pick(orjson.loads(orjson.dumps(event)), paths) for event in events]


def _path(field: str) -> list[str]:
    """The names between the dots; a backslash before a dot or a backslash makes it part of a name."""
    hidden = field.replace("\\\\", "\1").replace("\\.", "\0")
    return [name.replace("\0", ".").replace("\1", "\\") for name in hidden.split(".")]


def _pick(event: JsonObject, paths: Sequence[Sequence[str]]) -> JsonObject:
    picked: JsonObject = {}
    for *parents, last in paths:
        source: Any = event
        for name in parents:
            source = source.get(name) if isinstance(source, dict) else None
        if isinstance(source, dict) and last in source:
            target = picked
            for name in parents:
                target = target.setdefault(name, {})
            target[last] = source[last]
    return picked
