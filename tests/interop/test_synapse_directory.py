"""The same requests to Synapse and to this server: finding rooms, replacing them, and what readers tell."""

from typing import Any

from tests.interop.alike import Caller, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server

SPACE = {"creation_content": {"type": "m.space"}}
V1 = "/_matrix/client/v1"
TEXT = {"msgtype": "m.text", "body": "x"}


def _ask(caller: Caller, label: str, request: str, body: Any = None, by: str | None = "ada") -> None:
    method, _, path = request.partition(" ")
    caller.call(label, method, path, body, by)


def directory(caller: Caller) -> None:
    """Aliases, the public rooms, summaries and the rooms of a space."""
    caller.register("ada", "bob", "cy")
    word = caller.unique("word")
    caller.room("den", "ada", preset="public_chat", name=f"{word} alpha", topic="one", visibility="public")
    caller.room("lair", "ada", name="lair")
    caller.room("hub", "ada", preset="public_chat", name=f"{word} beta", visibility="public", **SPACE)
    caller.ask("POST", "join/{den}", {}, "bob")
    _aliases(caller, f"directory/room/%23{word}")
    _lists(caller, word)
    for child, content in (("den", {"order": "b"}), ("lair", {"suggested": True})):
        path = f"rooms/{{hub}}/state/m.space.child/{{{child}}}"
        caller.ask("PUT", path, {"via": ["synapse.test"], **content}, "ada")
    for by in ("ada", "cy"):
        _ask(caller, f"hierarchy to {by}", f"GET {V1}/rooms/{{hub}}/hierarchy", by=by)
        for room in ("den", "lair", "hub"):
            _ask(caller, f"summary of {room} to {by}", f"GET {V1}/room_summary/{{{room}}}", by=by)
    for query in ("suggested_only=true", "max_depth=0", "limit=2", "from=x"):
        _ask(caller, f"hierarchy {query}", f"GET {V1}/rooms/{{hub}}/hierarchy?{query}")


def _aliases(caller: Caller, alias: str) -> None:
    den = {"room_id": caller.names["den"]}
    one, other = f"{alias}1:synapse.test", f"{alias}2:synapse.test"
    _ask(caller, "add", f"PUT {one}", den)
    _ask(caller, "add again", f"PUT {one}", den)
    _ask(caller, "add to another room", f"PUT {one}", {"room_id": caller.names["lair"]})
    _ask(caller, "add to no room", f"PUT {other}", {"room_id": "!no:synapse.test"})
    _ask(caller, "add to nothing", f"PUT {other}", {})
    _ask(caller, "add as a stranger", f"PUT {other}", den, "cy")
    _ask(caller, "add as a member", f"PUT {other}", den, "bob")
    _ask(caller, "look up", f"GET {one}", by=None)
    _ask(caller, "look up nothing", f"GET {alias}9:synapse.test")
    _ask(caller, "look up no alias", "GET directory/room/x")
    _ask(caller, "aliases", "GET rooms/{den}/aliases")
    _ask(caller, "aliases to a stranger", "GET rooms/{den}/aliases", by="cy")
    name = f"#{caller.names['unique word']}1:synapse.test"
    _ask(caller, "main alias", "PUT rooms/{den}/state/m.room.canonical_alias", {"alias": name})
    _ask(caller, "delete as a member", f"DELETE {one}", by="bob")
    _ask(caller, "delete one's own", f"DELETE {other}", by="bob")
    _ask(caller, "delete", f"DELETE {one}")
    _ask(caller, "main alias after that", "GET rooms/{den}/state/m.room.canonical_alias")
    _ask(caller, "delete again", f"DELETE {one}")


def _lists(caller: Caller, word: str) -> None:
    _ask(caller, "visibility", "GET directory/list/room/{den}", by=None)
    _ask(caller, "publish as a member", "PUT directory/list/room/{den}", {"visibility": "private"}, "bob")
    _ask(caller, "no visibility", "PUT directory/list/room/{den}", {"visibility": "x"})
    _ask(caller, "visibility of none", "GET directory/list/room/!no:synapse.test")
    found = {"generic_search_term": word.upper()}
    for label, more in {
        "all": {},
        "the first": {"limit": 1},
        "spaces": {"filter": {**found, "room_types": ["m.space"]}},
        "no spaces": {"filter": {**found, "room_types": [None]}},
        "none": {"filter": {"generic_search_term": f"no {word}"}},
        "a network": {"third_party_instance_id": "irc|x"},
        "a network and all": {"third_party_instance_id": "irc|x", "include_all_networks": True},
    }.items():
        _ask(caller, f"public rooms: {label}", "POST publicRooms", {"filter": found, **more})
    _ask(caller, "public rooms: no number", "GET publicRooms?limit=x")


def upgrade(caller: Caller) -> None:
    """Who may, and what the new room has of the old one."""
    caller.register("ada", "bob", "cy")
    ada, bob, cy = (caller.names[name] for name in ("ada", "bob", "cy"))
    more = {"power_level_content_override": {"users": {ada: 100, bob: 50}, "events": {"m.room.name": 60}}}
    guests = {"type": "m.room.guest_access", "content": {"guest_access": "forbidden"}}
    initial = [
        guests,  # without it Synapse lets guests into the new room
        {"type": "m.room.avatar", "content": {"url": "mxc://a/b"}},
        {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
        {"type": "m.room.pinned_events", "content": {"pinned": ["$x"]}},
        {"type": "x", "content": {"a": 1}},
    ]
    caller.room(
        "den", "ada", preset="public_chat", name="N", topic="T", visibility="public",
        room_alias_name=caller.unique("alias"), initial_state=initial, **more,
    )  # fmt: skip
    caller.room(
        "lair", "ada", preset="public_chat", creation_content={"m.federate": False}, initial_state=[guests]
    )
    for room in ("den", "lair"):
        caller.ask("POST", f"join/{{{room}}}", {}, "bob")
    caller.ask("POST", "rooms/{den}/ban", {"user_id": cy, "reason": "spam"}, "ada")
    _ask(caller, "to nothing", "POST rooms/{lair}/upgrade", {})
    _ask(caller, "to an unknown version", "POST rooms/{lair}/upgrade", {"new_version": "99"})
    _ask(caller, "without power", "POST rooms/{lair}/upgrade", {"new_version": "11"}, "bob")
    _ask(caller, "as a stranger", "POST rooms/{lair}/upgrade", {"new_version": "11"}, "cy")
    for room, version in (("den", "11"), ("lair", "12")):
        answer = caller.call(room, "POST", f"rooms/{{{room}}}/upgrade", {"new_version": version}, "ada")
        caller.names[f"new {room}"] = answer["replacement_room"]
        _ask(caller, f"the new {room}", f"GET rooms/{{new {room}}}/state")
        _ask(caller, f"the old {room}", f"GET rooms/{{{room}}}/state")
        _ask(caller, f"{room} again", f"POST rooms/{{{room}}}/upgrade", {"new_version": version})
    for room in ("den", "new den"):
        _ask(caller, f"visibility of {room}", f"GET directory/list/room/{{{room}}}")
        _ask(caller, f"aliases of {room}", f"GET rooms/{{{room}}}/aliases")


UPGRADE_ALLOWED = {
    "the new lair: [5].content.events.m.room.tombstone": "in version 12 it is above the level of the other state",
}


def signals(caller: Caller) -> None:
    """Receipts, markers, typing and reports."""
    caller.register("ada", "bob", "cy")
    caller.room("den", "ada", preset="public_chat")
    caller.ask("POST", "join/{den}", {}, "bob")
    for name in ("one", "two"):
        caller.send(name, "den", "ada", TEXT)
    for label, path, body in (
        ("public", "m.read/{one}", {}),
        ("private", "m.read.private/{one}", {}),
        ("marker", "m.fully_read/{one}", {}),
        ("of no kind", "m.x/{one}", {}),
        ("of no event", "m.read/$no", {}),
        ("main", "m.read/{two}", {"thread_id": "main"}),
        ("thread without a name", "m.read/{two}", {"thread_id": ""}),
        ("marker of a thread", "m.fully_read/{one}", {"thread_id": "main"}),
    ):
        _ask(caller, f"receipt: {label}", f"POST rooms/{{den}}/receipt/{path}", body, "bob")
    _ask(caller, "receipt of a stranger", "POST rooms/{den}/receipt/m.read/{one}", {}, "cy")
    markers = {"m.fully_read": caller.names["two"], "m.read": caller.names["one"]}
    _ask(caller, "markers", "POST rooms/{den}/read_markers", markers, "bob")
    _ask(caller, "no markers", "POST rooms/{den}/read_markers", {}, "bob")
    _ask(caller, "marker", "GET user/{bob}/rooms/{den}/account_data/m.fully_read", by="bob")
    for typing in ({"typing": True, "timeout": 3000}, {"typing": False}, {"typing": True}):
        _ask(caller, f"typing {typing}", "PUT rooms/{den}/typing/{ada}", typing)
    _ask(caller, "typing of a stranger", "PUT rooms/{den}/typing/{cy}", {"typing": True}, "cy")
    for label, body in {
        "whole": {"reason": "bad", "score": -100},
        "empty": {},
        "score": {"score": "x"},
        "reason": {"reason": 3},
    }.items():
        _ask(caller, f"report an event: {label}", "POST rooms/{den}/report/{one}", body, "bob")
        _ask(caller, f"report a room: {label}", "POST rooms/{den}/report", body, "bob")
    _ask(caller, "report as a stranger", "POST rooms/{den}/report/{one}", {"reason": "x"}, "cy")
    _ask(caller, "report no event", "POST rooms/{den}/report/$no", {"reason": "x"}, "bob")
    _ask(caller, "report no room", "POST rooms/!no:synapse.test/report", {"reason": "x"}, "bob")


def test_directory(synapse: Synapse, server: Server) -> None:
    """The same rooms are found, by the same people."""
    wrong = differences(directory, synapse, server, {})
    assert not wrong, "\n".join(wrong)


def test_upgrades(synapse: Synapse, server: Server) -> None:
    """The new room has the same state."""
    wrong = differences(upgrade, synapse, server, UPGRADE_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_signals(synapse: Synapse, server: Server) -> None:
    """The same are taken, and the same refused."""
    wrong = differences(signals, synapse, server, {})
    assert not wrong, "\n".join(wrong)
