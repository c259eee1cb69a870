"""The same requests to Synapse and to this server: making rooms, and what is sent into them."""

from typing import Any

from tests.interop.alike import Caller, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server

MEGOLM = {"algorithm": "m.megolm.v1.aes-sha2"}
TEXT = {"msgtype": "m.text", "body": "x"}


def _make(caller: Caller, name: str, /, **body: Any) -> None:
    """Compare the answer, and all events of the room."""
    answer = caller.call(name, "POST", "createRoom", body, "ada")
    if answer.status == 200:
        caller.names[f"room {name}"] = answer["room_id"]
        path = f"rooms/{{room {name}}}/messages?dir=f&limit=60"
        events = caller.call(f"{name}: events", "GET", path, by="ada")
        events.body.pop("end", None)  # which the specification does not have where there is no more


def creation(caller: Caller) -> None:
    """Each preset and generation of versions, and requests that are refused."""
    caller.register("ada", "bob")
    ada, bob = caller.names["ada"], caller.names["bob"]
    for version in ("1", "3", "6", "10", "11"):
        _make(caller, f"version {version}", room_version=version)
    for preset in ("private_chat", "trusted_private_chat", "public_chat"):
        for version in ("10", "12"):
            more = {"invite": [bob], "is_direct": True, "name": "N", "topic": "T"}
            _make(caller, f"{preset} {version}", preset=preset, room_version=version, **more)
    _make(caller, "public", visibility="public", name="", topic="")
    initial = [
        {"type": "b", "content": {"n": 1}},
        {"type": "m.room.join_rules", "content": {"join_rule": "knock"}},
        {"type": "a", "state_key": "k", "content": {"n": 2}},
        {"type": "m.room.encryption", "content": MEGOLM},
        {"type": "m.room.guest_access", "content": {"guest_access": "forbidden"}},
        {"type": "a", "state_key": ada, "content": {}},
        {"type": "a", "state_key": "k", "content": {"n": 3}},
    ]
    _make(caller, "initial state", initial_state=initial, name="N")
    levels = {"users_default": 5, "events": {"m.room.name": 7}, "notifications": {"room": 30}}
    _make(caller, "levels", room_version="11", power_level_content_override=levels)
    _make(caller, "content", creation_content={"type": "m.space", "m.federate": False, "x": 1})
    _make(caller, "creators", room_version="12", creation_content={"additional_creators": [bob]})
    alias = caller.unique("alias")
    _make(caller, "alias", room_alias_name=alias)
    for name, body in {
        "the same alias": {"room_alias_name": alias},
        "an alias with a colon": {"room_alias_name": "a:b"},
        "an unknown version": {"room_version": "99"},
        "an empty version": {"room_version": ""},
        "no text as a version": {"room_version": 10},
        "an unknown preset": {"preset": "x"},
        "no text as a name": {"name": 3},
        "no list of users": {"invite": "@bob:synapse.test"},
        "no user": {"invite": ["bob"]},
        "levels without the creator": {"room_version": "11", "power_level_content_override": {"users": {}}},
        "levels of no users": {"room_version": "11", "power_level_content_override": {"users": "x"}},
        "a creator with a level": {
            "room_version": "12",
            "power_level_content_override": {"users": {ada: 100}},
        },
        "an alias of no room": {
            "initial_state": [{"type": "m.room.canonical_alias", "content": {"alias": "#no:synapse.test"}}]
        },
        "a long type": {"initial_state": [{"type": "t" * 256, "content": {}}]},
        "much content": {"initial_state": [{"type": "t", "content": {"x": "x" * 66000}}]},
    }.items():
        _make(caller, name, **body)
    for name, odd in {"no body": b"", "a list": [], "no JSON": b"{"}.items():
        caller.call(name, "POST", "createRoom", odd, "ada")
    caller.call("no token", "POST", "createRoom", {})


_ADDITION = "not in the specification"


def _send(caller: Caller, label: str, path: str, body: Any, by: str = "ada") -> None:
    """Compare the answer, and the event."""
    answer = caller.call(label, "PUT", path, body, by)
    if answer.status == 200:
        caller.names[f"event {label}"] = answer["event_id"]
        caller.call(f"{label}: event", "GET", f"rooms/{{den}}/event/{{event {label}}}", by="ada")


def sending(caller: Caller) -> None:
    """Messages, good and odd; state; redactions."""
    caller.register("ada", "bob", "cy")
    ada, bob = caller.names["ada"], caller.names["bob"]
    caller.room("den", "ada", preset="public_chat")
    caller.ask("POST", "join/{den}", {}, "bob")
    for name, body in {
        "text": TEXT,
        "unicode": {**TEXT, "body": "\U0001f98a ☃"},
        "a fraction": {**TEXT, "x": 1.5},
        "an integer out of range": {**TEXT, "x": 2**53},
        "the greatest integer": {**TEXT, "x": 2**53 - 1},
        "too much": {**TEXT, "body": "x" * 66000},
        "the same key twice": b'{"msgtype":"m.text","body":"a","body":"b"}',
        "no relation": {**TEXT, "m.relates_to": None},
        "a relation to nothing": {**TEXT, "m.relates_to": {"rel_type": "m.thread", "event_id": "$no"}},
        "odd mentions": {**TEXT, "m.mentions": "x"},
        "no type": {"body": "x"},
        "a list": [],
        "no body": b"",
    }.items():
        _send(caller, name, f"rooms/{{den}}/send/m.room.message/{name}", body)
    caller.call("again", "PUT", "rooms/{den}/send/m.room.message/text", TEXT, "ada")
    caller.call("stranger", "PUT", "rooms/{den}/send/m.room.message/1", TEXT, "cy")
    caller.call("no room", "PUT", "rooms/!no:synapse.test/send/m.room.message/1", TEXT, "ada")
    for kind in ("m.room.name", "m.room.topic", "m.room.tombstone"):
        content = {"name": "x", "topic": "x", "replacement_room": "!a:b"}
        caller.call(f"{kind} as a message", "PUT", f"rooms/{{den}}/send/{kind}/1", content, "ada")
    _send(caller, "name", "rooms/{den}/state/m.room.name", {"name": "N"})
    _send(caller, "the same name", "rooms/{den}/state/m.room.name/", {"name": "N"})
    caller.call("get name", "GET", "rooms/{den}/state/m.room.name", by="ada")
    caller.call("get topic", "GET", "rooms/{den}/state/m.room.topic", by="ada")
    caller.call("get name as a stranger", "GET", "rooms/{den}/state/m.room.name", by="cy")
    for name, (key, content) in {
        "weak levels": ("m.room.power_levels", {"users": {ada: 100, bob: 50}}),
        "levels above the own": ("m.room.power_levels", {"users": {ada: 101}}),
        "levels of text": ("m.room.power_levels", {"users": {ada: "100"}}),
        "another create": ("m.room.create", {"room_version": "10"}),
        "a key of one's own": (f"x/{ada}", {"a": 1}),
        "a key of another": (f"x/{bob}", {"a": 1}),
        "a long key": ("x/" + "k" * 256, {}),
        "an alias of no room": ("m.room.canonical_alias", {"alias": "#no:synapse.test"}),
        "no alias": ("m.room.canonical_alias", {}),
        "a list shuts out all": ("m.room.server_acl", {}),
        "a successor": ("m.room.tombstone/x", {"body": "x"}),
        "an unknown membership": (f"m.room.member/{ada}", {"membership": "x"}),
        "no name": ("m.room.avatar", {"url": None}),
    }.items():
        _send(caller, name, f"rooms/{{den}}/state/{key}", content)
    caller.call("weak", "PUT", "rooms/{den}/state/m.room.join_rules", {"join_rule": "invite"}, "cy")
    caller.call("state", "GET", "rooms/{den}/state", by="ada")
    for number in range(3):
        caller.send(f"m{number}", "den", "ada" if number else "bob", TEXT)
    _send(caller, "redaction", "rooms/{den}/redact/{m1}/r1", {"reason": "bad"})
    _send(caller, "the same redaction", "rooms/{den}/redact/{m2}/r1", {"reason": "other"})
    _send(caller, "one's own", "rooms/{den}/redact/{m0}/r2", {}, "bob")
    _send(caller, "as a stranger", "rooms/{den}/redact/{m2}/r3", {}, "cy")
    caller.ask("POST", "join/{den}", {}, "cy")
    _send(caller, "without power", "rooms/{den}/redact/{m2}/r4", {}, "cy")
    caller.call("redacted", "GET", "rooms/{den}/event/{m1}", by="ada")


SENDING_ALLOWED = {
    "redacted: .unsigned.redacted_because.unsigned": "of the redacted event it says nothing",
    "redacted: .unsigned.redacted_by": _ADDITION,
}


def test_rooms_are_made(synapse: Synapse, server: Server) -> None:
    """The same events in the same order, and the same refusals."""
    wrong = differences(creation, synapse, server, {})
    assert not wrong, "\n".join(wrong)


def test_events_are_sent(synapse: Synapse, server: Server) -> None:
    """Messages, state and redactions become the same events, or none."""
    wrong = differences(sending, synapse, server, SENDING_ALLOWED)
    assert not wrong, "\n".join(wrong)
