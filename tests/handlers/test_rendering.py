"""Events as clients get them."""

from typing import Any

import orjson
import pytest

from synapse_lite.handlers.rendering import render, render_old, with_fields
from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.storage.events import StoredEvent, View
from tests.builders import ALICE, SERVER

KEY = generate_signing_key(SERVER)
SENT = 1000


def _event(kind: str, content: dict[str, Any], version: str = "11", **more: Any) -> Event:
    draft = Draft(kind, ALICE, content, SENT, **more)
    return build_event(draft, ROOM_VERSIONS[version], "!room:hs.test", [], [], 1, KEY)


def _shown(view: View, session: str | None = None, now_ms: int = SENT) -> dict[str, Any]:
    shown: dict[str, Any] = orjson.loads(orjson.dumps(render(view, session=session, now_ms=now_ms)))
    return shown


def test_plain_event() -> None:
    """The fields of the specification, and how long ago it was sent; never a negative age."""
    event = _event("m.room.message", {"body": "x"})
    view = View(StoredEvent(1, 1, event, 1, 1))
    assert _shown(view, now_ms=1500) == {
        "type": "m.room.message",
        "content": {"body": "x"},
        "event_id": event.event_id,
        "origin_server_ts": SENT,
        "room_id": "!room:hs.test",
        "sender": ALICE,
        "unsigned": {"age": 500},
    }
    assert _shown(view, now_ms=0)["unsigned"]["age"] == 0


@pytest.mark.parametrize("membership", [None, "join", "leave"])
@pytest.mark.parametrize("txn_id", ["txn", '"\\\n', ""])
def test_transaction_id(membership: str | None, txn_id: str) -> None:
    """For the session that sent it, not for others, not for nobody."""
    view = View(StoredEvent(1, 1, _event("m.x", {}), 1, 1, None, None, "mine", txn_id), membership=membership)
    others = {"age": 0} if membership is None else {"age": 0, "membership": membership}
    assert _shown(view, "mine")["unsigned"] == {**others, "transaction_id": txn_id}
    for other in ("yours", None):
        assert _shown(view, other)["unsigned"] == others
    unsent = View(StoredEvent(1, 1, _event("m.x", {}), 1, 1), membership=membership)
    assert _shown(unsent, None)["unsigned"] == others


def test_replaced_state() -> None:
    """The content, sender and id of what was there before."""
    before = _event("m.topic", {"topic": "old"}, state_key="")
    view = View(StoredEvent(2, 1, _event("m.topic", {"topic": "new"}, state_key=""), 1, 2, 1), None, before)
    unsigned = _shown(view)["unsigned"]
    assert (unsigned["prev_content"], unsigned["replaces_state"]) == ({"topic": "old"}, before.event_id)


@pytest.mark.parametrize("version", ["1", "3", "6", "10", "11", "12"])
def test_redacted(version: str) -> None:
    """Nothing but what the version keeps, and the redaction, with `redacts` in both places."""
    target = _event("m.room.message", {"body": "rude"}, version)
    redaction = _event("m.room.redaction", {"reason": "r"}, version, redacts=target.event_id)
    view = View(
        StoredEvent(1, 1, target, 1, 1, None, None, "mine", "txn"), StoredEvent(2, 1, redaction, 1, 1)
    )
    shown = _shown(view, "mine")
    assert shown["content"] == {}
    assert shown["unsigned"]["transaction_id"] == "txn"
    because = shown["unsigned"]["redacted_because"]
    assert because["redacts"] == because["content"]["redacts"] == target.event_id
    assert because["content"]["reason"] == "r"


def test_old_places() -> None:
    """What a client gets, and beside it the sender and parts of `unsigned` under their first names."""
    before = _event("m.topic", {"topic": "old"}, state_key="")
    redaction = StoredEvent(3, 1, _event("m.room.redaction", {}), 1, 3)
    view = View(StoredEvent(2, 1, _event("m.topic", {}, state_key=""), 1, 2, 1), redaction, before)
    shown = _shown(view, now_ms=1500)
    unsigned = shown["unsigned"]
    assert orjson.loads(orjson.dumps(render_old(view, now_ms=1500))) == shown | {
        "user_id": ALICE,
        "age": 500,
        "replaces_state": before.event_id,
        "prev_content": {"topic": "old"},
        "redacted_because": unsigned["redacted_because"],
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["type"], {"type": "m.x"}),
        (["content"], {"content": {"a": {"b": 1, "c": 2}, "d.e": 3, "f\\": 4}}),
        (["content.a.b"], {"content": {"a": {"b": 1}}}),
        (["content.a.b", "content.d\\.e"], {"content": {"a": {"b": 1}, "d.e": 3}}),
        (["content.f\\\\"], {"content": {"f\\": 4}}),
        (["content.a", "content.a.b"], {"content": {"a": {"b": 1, "c": 2}}}),
        (["content.a.b.x", "content.nothing", "nothing.at.all", "type.x", ""], {}),
    ],
)
def test_fields(fields: list[str], expected: dict[str, Any]) -> None:
    """Names between dots; a backslash takes a dot, or itself, as it is; what is not there is left out."""
    content = {"a": {"b": 1, "c": 2}, "d.e": 3, "f\\": 4}
    fragment = render(View(StoredEvent(1, 1, _event("m.x", content), 1, 1)), session=None, now_ms=0)
    assert with_fields([fragment], fields) == [expected]
